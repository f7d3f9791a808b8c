import { setTimeout as wait } from "node:timers/promises";
import type { CliContext } from "./context.io.ts";
import { CliFailure } from "./failure.ts";

const PATIENCE_MS = 120_000;
const AGAIN_MS = 1_000;

/** Asks again for two minutes where no server answers: who watches for hours should outlive a restart of it. */
export async function patiently<T>({ world, say }: CliContext, ask: () => Promise<T>): Promise<T> {
  const untilMs = world.nowMs() + PATIENCE_MS;
  for (let told = false; ; told = true) {
    try {
      return await ask();
    } catch (cause) {
      const away = cause instanceof CliFailure && AWAY.has(cause.code);
      if (!away || world.signal.aborted || world.nowMs() > untilMs) throw cause;
      if (!told) say(`${cause.message} Waiting.`);
      await wait(AGAIN_MS, undefined, { signal: world.signal });
    }
  }
}

/** Not there, and closing or just starting. */
const AWAY: ReadonlySet<string> = new Set(["SERVER_UNREACHABLE", "UNAVAILABLE"]);
