import type { BaselineReport } from "@bellwether/protocol/messages/baseline.ts";
import { postNothing } from "./http.io.ts";
import type { Login } from "./login.io.ts";
import type { Reach } from "./reach.io.ts";

const RETRY_MS = 60_000;
/** As many as a device may have at the server. */
const WAITING_MAX = 4_096;

interface BaselineReportsOptions {
  readonly serverUrl: string;
  readonly login: Pick<Login, "httpToken">;
  readonly reach: Reach;
}

/** Brings baselines to the server, the newest of each asset and model; what cannot be brought now waits. */
export class BaselineReports {
  readonly #options: BaselineReportsOptions;
  readonly #waiting = new Map<string, BaselineReport>();
  #timer: NodeJS.Timeout | undefined;
  #busy = false;

  constructor(options: BaselineReportsOptions) {
    this.#options = options;
  }

  add(report: BaselineReport): void {
    const key = `${report.model}/${report.asset}`;
    if (this.#waiting.size >= WAITING_MAX && !this.#waiting.has(key)) return;
    this.#waiting.set(key, report);
    void this.#send();
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#waiting.clear();
  }

  async #send(): Promise<void> {
    if (this.#busy) return;
    this.#busy = true;
    clearTimeout(this.#timer);
    let failed = false;
    for (const [key, report] of this.#waiting) {
      const brought = await this.#bring(report);
      failed = !brought;
      if (failed) break;
      if (this.#waiting.get(key) === report) this.#waiting.delete(key);
    }
    this.#busy = false;
    if (!failed || this.#waiting.size === 0) return;
    this.#timer = setTimeout(() => void this.#send(), RETRY_MS);
    this.#timer.unref();
  }

  /** False where another try may help: what the server does not want is left out. */
  async #bring(report: BaselineReport): Promise<boolean> {
    const { serverUrl, login, reach } = this.#options;
    const token = await login.httpToken();
    if (!token.ok) return false;
    const brought = await postNothing(serverUrl, "v1/device/baselines", report, reach, token.value);
    if (brought.ok) return true;
    const http = Number(brought.error.detail["http"]);
    return http === 404 || http === 409 || http === 413 || http === 422;
  }
}
