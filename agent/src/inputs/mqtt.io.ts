import { problem } from "@bellwether/protocol/errors.ts";
import { readPassword } from "@bellwether/protocol/files/read.io.ts";
import type { TelemetryRow } from "@bellwether/protocol/messages/stream.ts";
import type { MqttInputConfig } from "../config/config.ts";
import { declaredOf, loopAdapter, sparing } from "./adapter.io.ts";
import type { Emit, InputAdapter, InputContext } from "./input.ts";
import { readSiteMessage, rowsOfReadings, type SiteReading } from "./site-message.ts";

/** Rows that wait for the pipeline; beyond, the oldest are dropped and counted. */
const WAITING_ROWS_MAX = 10_000;
const EMIT_ROWS_MAX = 512;

/** A site broker's topics. Messages come when they come, so what the pipeline cannot take waits in a bounded queue. */
export function createMqttInput(config: MqttInputConfig, context: InputContext): InputAdapter {
  const report = sparing(context.onProblem, 1_000);
  return loopAdapter(
    config.id,
    context,
    () => declaredOf(config.points),
    async (emit, signal) => {
      const password = config.passwordFile === undefined ? undefined : passwordOf(config, context);
      if (config.passwordFile !== undefined && password === undefined) return;
      const topics = Map.groupBy(config.points, ({ topic }) => topic);
      const queue = new RowQueue(emit, signal, (dropped) => {
        report(problem("INPUT_OVERFLOW", { input: config.id, dropped }));
      });
      const groups = new Grouping(config.groupMs, (readings) => queue.add(rowsOfReadings(readings)));
      const broker = context.connectMqtt({
        url: config.url,
        topics: [...topics.keys()],
        ...(config.username === undefined ? {} : { username: config.username }),
        ...(password === undefined ? {} : { password }),
        onMessage(topic, payload, kept) {
          const readings = readSiteMessage(topics.get(topic) ?? [], payload, { nowMs: context.nowMs(), kept });
          for (const { point, reason } of readings) {
            if (reason === undefined) continue;
            report(problem("INPUT_PAYLOAD_WRONG", { input: config.id, channel: point.channel, topic, reason }));
          }
          groups.add(readings);
        },
        onConnected(connected, reason, unfit) {
          const lost = { input: config.id, url: config.url, reason };
          if (connected) return;
          context.onProblem(problem(unfit ? "INPUT_PACKET_REFUSED" : "INPUT_DISCONNECTED", lost));
        },
      });
      try {
        await queue.run();
      } finally {
        groups.close();
        await broker.close();
      }
    },
  );
}

function passwordOf(config: MqttInputConfig, context: InputContext): string | undefined {
  const file = config.passwordFile!;
  const password = readPassword(file);
  if (typeof password === "string") return password;
  context.onProblem(problem("INPUT_FILE_UNREADABLE", { input: config.id, file, reason: password.reason }));
  return undefined;
}

/** Holds readings back for `groupMs`, so that values of one instant that come on several topics make one row. */
class Grouping {
  readonly #groupMs: number;
  readonly #done: (readings: SiteReading[]) => void;
  #held: SiteReading[] = [];
  #timer: NodeJS.Timeout | undefined;

  constructor(groupMs: number, done: (readings: SiteReading[]) => void) {
    this.#groupMs = groupMs;
    this.#done = done;
  }

  add(readings: readonly SiteReading[]): void {
    this.#held.push(...readings);
    if (this.#groupMs === 0 || this.#held.length > WAITING_ROWS_MAX) this.#release();
    else this.#timer ??= setTimeout(() => this.#release(), this.#groupMs);
  }

  close(): void {
    clearTimeout(this.#timer);
  }

  #release(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const held = this.#held;
    this.#held = [];
    if (held.length > 0) this.#done(held);
  }
}

/** Rows on their way to the pipeline, oldest first. */
class RowQueue {
  readonly #emit: Emit;
  readonly #signal: AbortSignal;
  readonly #onDropped: (dropped: number) => void;
  #rows: TelemetryRow[] = [];
  #wake: (() => void) | undefined;
  #dropped = 0;

  constructor(emit: Emit, signal: AbortSignal, onDropped: (dropped: number) => void) {
    this.#emit = emit;
    this.#signal = signal;
    this.#onDropped = onDropped;
    signal.addEventListener("abort", () => this.#wake?.(), { once: true });
  }

  add(rows: readonly TelemetryRow[]): void {
    this.#rows.push(...rows);
    const over = this.#rows.length - WAITING_ROWS_MAX;
    if (over > 0) {
      this.#rows.splice(0, over);
      this.#dropped += over;
      this.#onDropped(this.#dropped);
    }
    this.#wake?.();
  }

  async run(): Promise<void> {
    while (!this.#signal.aborted) {
      if (this.#rows.length === 0) {
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
        this.#wake = undefined;
        continue;
      }
      await this.#emit(this.#rows.splice(0, EMIT_ROWS_MAX));
    }
  }
}
