import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { roleSpawner } from "@bellwether/protocol/process/roles.io.ts";
import { ok, unwrap } from "@bellwether/protocol/result.ts";
import { DIRECT } from "@bellwether/protocol/tls/transport.ts";
import { openOutbox } from "../../agent/src/buffer/outbox.io.ts";
import type { Outbox } from "../../agent/src/buffer/outbox.ts";
import { createClock, readBootId } from "../../agent/src/health/clock.io.ts";
import type { LatencyHistogram } from "../../agent/src/inference/latency.ts";
import { fileCounter } from "../../agent/src/link/counter.io.ts";
import { enrol, readIdentity } from "../../agent/src/link/enrol.io.ts";
import type { Identity } from "../../agent/src/link/enrolment.ts";
import { createLink } from "../../agent/src/link/link.io.ts";
import { createLogin } from "../../agent/src/link/login.io.ts";
import type { Link } from "../../agent/src/link/ports.ts";
import type { AgentRole } from "../../agent/src/roles.io.ts";
import { createUpdater, machineOf, type Updater } from "../../agent/src/update/runner.io.ts";
import { patiently } from "../bench/patiently.ts";
import { CountedServing } from "../kit/counted-serving.ts";
import { portOf } from "../kit/outbox-port.ts";
import { CHANNELS, RESOLUTION, type RowSource, rowOf } from "./truth.ts";

const BUFFER = {
  maxBytes: 64 * 1_048_576,
  maxAgeMs: 90 * 86_400_000,
  commitMs: 1_000,
  keepAckedMs: 60_000,
  backfillBytesPerSecond: 1_048_576,
};
const HEARTBEAT_MS = 10_000;
const PREDICTION_EVERY_MS = 1_000;
/** Rows that one look at the clock makes at most: after a pause the rest comes with the next. */
const ROWS_AT_ONCE_MAX = 2_000;

const spawner = roleSpawner<AgentRole>(new URL("../../agent/src/main.ts", import.meta.url));
const clock = createClock(readBootId());

export interface LoadDeviceOptions {
  readonly serverUrl: string;
  readonly enrolmentToken: string;
  readonly name: string;
  readonly stateDir: string;
  readonly source: RowSource;
  /** Whether it takes the models that it is told to run. */
  readonly downloads: boolean;
  readonly latency: LatencyHistogram;
}

/**
 * One device of a load: an agent's own enrolment, login, outbox, link and, where it downloads, updates, in a folder of its
 * own. What is missing of an agent are inputs, models that compute, and threads.
 */
export class LoadDevice {
  readonly source: RowSource;
  produced = 0;
  readonly #name: string;
  readonly #outbox: Outbox;
  readonly #link: Link;
  readonly #updater: Updater | undefined;
  readonly #serving = new CountedServing();
  readonly #latency: LatencyHistogram;
  /** Rows that wait for their acknowledgement: up to which seq, and since when. */
  #waiting: { readonly toSeq: number; readonly rows: number; readonly atMs: number }[] = [];
  /** What to take from a count of rows to have their seq: an epoch counts anew. */
  #before = 0;
  #predictedAtMs = 0;
  #updated = false;

  /** Enrols a device as its command line would, and opens what it has; a busy server is asked again. */
  static async enrol(options: LoadDeviceOptions): Promise<LoadDevice> {
    const { stateDir, serverUrl, enrolmentToken: token, name: device } = options;
    mkdirSync(stateDir, { recursive: true, mode: 0o700 });
    await patiently(async () => unwrap(await enrol({ stateDir, serverUrl, token, device, nowMs: Date.now })));
    return new LoadDevice(options, unwrap(readIdentity(stateDir)));
  }

  private constructor(
    { name, stateDir, source, downloads, latency, serverUrl }: LoadDeviceOptions,
    identity: Identity,
  ) {
    this.#name = name;
    this.source = source;
    this.#latency = latency;
    const { enrolment } = identity;
    const { site, device, mqttUrl, rootMetadata } = enrolment;
    const login = createLogin(() => identity);
    const port = portOf(
      () => this.#outbox,
      () => this.#renumbered(),
    );
    const options = { ...BUFFER, clock, resolutionOf: () => RESOLUTION, sendable: () => port.sendable() };
    this.#outbox = unwrap(openOutbox(join(stateDir, "outbox.sqlite"), options));
    const channels = CHANNELS.map((channel) => ({ channel, unit: "1", resolution: RESOLUTION }));
    this.#link = createLink({
      mqttUrl,
      site,
      device,
      heartbeatMs: HEARTBEAT_MS,
      login: () => login.mqtt(),
      outbox: {
        ...port,
        ack: (ack) => {
          port.ack(ack);
          const { telemetry } = ack.streams;
          if (telemetry?.epoch === this.#outbox.epoch) this.#acknowledged(telemetry.upTo);
        },
      },
      sessions: fileCounter(join(stateDir, "sessions"), Date.now),
      births: () => [{ asset: source.asset, channels, facts: {}, agentVersion: "0.1.0" }],
      onDesired: (bytes) => this.#updater?.onDesired(bytes),
    });
    if (!downloads) return;
    this.#updater = createUpdater(
      {
        stateDir,
        serverUrl,
        device,
        rootMetadata,
        token: (renew) => login.httpToken(renew),
        transport: () => DIRECT,
        labels: () => enrolment.labels ?? {},
        compatible: () => ok(undefined),
        serve: (model, wanted) => this.#serving.serve(model, wanted),
        figures: () => this.#serving.figures(),
        report: (reported) => {
          this.#updated ||= reported.models.some(({ outcome }) => outcome === "succeeded");
          this.#link.report(reported);
        },
        onForged: () => undefined,
        now: Date.now,
        clockSynced: () => true,
        log: () => undefined,
      },
      // Its own machine's work, which would only take time from the others here: the server has no part in it.
      { ...machineOf(stateDir, spawner), selfTest: async () => ok({ goldenMaxError: 0 }) },
    );
  }

  start(): void {
    this.#updater?.start();
    this.#link.start();
  }

  /** Makes the rows that are due by then. */
  produceUntil(nowMs: number): void {
    const { fromMs, rate, asset } = this.source;
    const due = Math.floor(((nowMs - fromMs) * rate) / 1_000) + 1;
    const count = Math.min(ROWS_AT_ONCE_MAX, due - this.produced);
    if (nowMs - this.#predictedAtMs >= PREDICTION_EVERY_MS) {
      this.#predictedAtMs = nowMs;
      const prediction = this.#serving.prediction(asset, nowMs);
      if (prediction) this.#outbox.append({ inference: [prediction] });
    }
    if (count <= 0) return;
    const rows = Array.from({ length: count }, (_, n) => rowOf(this.source, this.produced + n));
    this.produced += count;
    this.#waiting.push({ toSeq: this.produced - this.#before, rows: count, atMs: performance.now() });
    this.#outbox.append({ rows });
  }

  figures() {
    const { unacked, pending, evictedRecords } = this.#outbox.stats();
    const online = this.#link.phase === "online";
    return {
      online,
      produced: this.produced,
      waiting: unacked + pending,
      evicted: evictedRecords,
      updated: this.#updated,
    };
  }

  async stop(): Promise<void> {
    await this.#updater?.stop();
    await this.#link.stop();
    unwrap(this.#outbox.close());
  }

  #acknowledged(upTo: number): void {
    const nowMs = performance.now();
    const first = this.#waiting.findIndex(({ toSeq }) => toSeq > upTo);
    const done = this.#waiting.splice(0, first < 0 ? this.#waiting.length : first);
    for (const { rows, atMs } of done) {
      for (let row = 0; row < rows; row++) this.#latency.add((nowMs - atMs) * 1_000);
    }
  }

  /** The server had the device count anew: what waits has other numbers now, and its time is not told. */
  #renumbered(): void {
    const { unacked, pending } = this.#outbox.stats();
    this.#before = this.produced - unacked - pending;
    this.#waiting = [];
    process.stderr.write(`${this.#name} draws a new epoch\n`);
    this.#link.epochChanged();
  }
}
