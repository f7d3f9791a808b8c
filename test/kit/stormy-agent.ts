import { copyFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Random } from "@bellwether/protocol/random.ts";
import { unwrap } from "@bellwether/protocol/result.ts";
import { onTestFinished } from "vitest";
import { openOutbox } from "../../agent/src/buffer/outbox.io.ts";
import { askLocal } from "../../agent/src/health/local.io.ts";
import type { AgentSnapshot } from "../../agent/src/snapshot.ts";
import { type NetworkProxy, startProxy } from "../../demo/proxy.io.ts";
import { startAgentProcess } from "./agent.ts";
import { type BadLine, startBadLine } from "./bad-line.ts";
import { eventually } from "./eventually.ts";
import { enrolDevice, type TestFleet } from "./fleet.ts";
import { outboxOptions } from "./outbox.ts";
import type { TestProcess } from "./processes.ts";
import { type SmallDisk, startSmallDisk } from "./small-disk.ts";

const START_MS = Date.UTC(2026, 0, 1);
const STEP_MS = 10;
const CHANNELS = ["a", "b", "c", "d", "e", "f", "g", "h"];
const DAY_MS = 86_400_000;
const CLOCK_HOOK = new URL("../crash/skewed-clock.ts", import.meta.url).pathname;

/** A row as the file says it: the truth, written before any agent saw it. */
export interface TrueRow {
  readonly observedAtMs: number;
  readonly values: Readonly<Record<string, number>>;
}

export interface StormyAgentOptions {
  readonly device: string;
  readonly folder: string;
  readonly fleet: TestFleet;
  readonly random: Random;
  readonly rows: number;
  readonly rowsPerSecond: number;
  /** Budget of the outbox. */
  readonly maxBytes: number;
  /** Puts the state directory on a file system of its own, of this size. */
  readonly diskMegabytes?: number;
}

/** A real agent that replays a file, with all that can happen to it: its line, its clock, its disk, its process. */
export class StormyAgent {
  readonly device: string;
  readonly asset: string;
  /** Between the agent and the broker: cuts and half-open connections, then drops and slowness. */
  readonly proxy: NetworkProxy;
  readonly line: BadLine;
  readonly disk: SmallDisk | undefined;
  readonly #options: StormyAgentOptions;
  readonly #stateDir: string;
  readonly #rowsFile: string;
  readonly #clockFile: string;
  #process: TestProcess | undefined;

  static async enrol(options: StormyAgentOptions): Promise<StormyAgent> {
    const { folder, device, fleet, random, diskMegabytes } = options;
    const own = join(folder, device);
    mkdirSync(own);
    const disk = diskMegabytes === undefined ? undefined : startSmallDisk(diskMegabytes);
    const stateDir = join(disk?.folder ?? own, "state");
    await enrolDevice(fleet, stateDir, device);
    const line = await startBadLine(Number(new URL(fleet.mqttUrl).port), random);
    const proxy = await startProxy(line.port);
    onTestFinished(async () => {
      await proxy.close();
      line.close();
    });
    return new StormyAgent(options, own, stateDir, proxy, line, disk);
  }

  private constructor(
    options: StormyAgentOptions,
    own: string,
    stateDir: string,
    proxy: NetworkProxy,
    line: BadLine,
    disk: SmallDisk | undefined,
  ) {
    this.#options = options;
    this.device = options.device;
    this.asset = `${options.device}-pump`;
    this.proxy = proxy;
    this.line = line;
    this.disk = disk;
    this.#stateDir = stateDir;
    this.#rowsFile = join(own, "rows.csv");
    this.#clockFile = join(own, "clock-ahead-ms");
    const { random, rows } = options;
    const lines = Array.from({ length: rows }, (_, n) => {
      return [START_MS + n * STEP_MS, ...CHANNELS.map(() => random.next() * 100)].join(",");
    });
    writeFileSync(this.#rowsFile, `${["time", ...CHANNELS].join(",")}\n${lines.join("\n")}\n`);
  }

  /** Starts its process (again); `rows` ends the replay earlier than the file does. */
  start(rows = this.#options.rows): void {
    const { folder, rowsPerSecond, maxBytes } = this.#options;
    const points = CHANNELS.map((channel) => ({ name: channel, channel, unit: "mm/s" }));
    const replay = { id: "rec", type: "replay", file: this.#rowsFile, asset: this.asset, rows, rowsPerSecond };
    const config = {
      heartbeatMs: 1_000,
      server: { mqttUrl: `mqtt://127.0.0.1:${this.proxy.port}` },
      assets: [{ id: this.asset }],
      inputs: [{ ...replay, timeColumn: "time", timeFormat: "epoch_ms", points }],
      buffer: { maxBytes, commitMs: 100, retainAckedHours: 0 },
    };
    const own = join(folder, this.device);
    const env = { NODE_OPTIONS: `--import ${CLOCK_HOOK}`, CLOCK_FILE: this.#clockFile };
    this.#process = startAgentProcess(own, this.#stateDir, JSON.stringify(config), { env });
  }

  async kill(): Promise<void> {
    this.#process?.signal("SIGKILL");
    await this.#process?.ended;
  }

  async stop(): Promise<void> {
    await this.#process?.stop();
  }

  /** Sets its wall clock this many days ahead of the machine's, or behind. */
  setClockAhead(days: number): void {
    writeFileSync(this.#clockFile, String(Math.round(days * DAY_MS)));
  }

  heal(): void {
    this.proxy.heal();
    this.line.dropShare = 0;
    this.line.bytesPerSecond = Number.POSITIVE_INFINITY;
    this.disk?.free();
  }

  /** What the running agent says of itself; undefined while it does not answer. */
  async snapshot(): Promise<AgentSnapshot | undefined> {
    const answer = await askLocal(this.#stateDir);
    return answer.ok ? (answer.value as AgentSnapshot) : undefined;
  }

  /** What a dead agent left on its disk: rows it took, records nobody acknowledged, and records that gave way. */
  left(): { readonly taken: number; readonly unacked: number } {
    const copy = join(this.#options.folder, `${this.device}.sqlite`);
    for (const end of ["", "-wal"]) {
      const file = join(this.#stateDir, `outbox.sqlite${end}`);
      if (existsSync(file)) copyFileSync(file, `${copy}${end}`);
      else writeFileSync(`${copy}${end}`, "");
    }
    const outbox = unwrap(openOutbox(copy, outboxOptions({ maxBytes: this.#options.maxBytes })));
    const cursor = outbox.cursors()["rec"] as { readonly row: number } | undefined;
    const { unacked } = outbox.stats();
    unwrap(outbox.close());
    return { taken: cursor?.row ?? 0, unacked };
  }

  /** Resolves when it has taken so many rows since it was started, and the server has said that it has everything. */
  async drained(rows: number): Promise<void> {
    await eventually(
      `${this.device} has delivered everything`,
      async () => {
        const pipeline = (await this.snapshot())?.pipeline;
        return pipeline?.rows === rows && pipeline.outbox.unacked === 0 && pipeline.outbox.pending === 0;
      },
      120_000,
      100,
    );
  }

  /** The file's first rows, read again. */
  truth(rows: number): TrueRow[] {
    const [, ...lines] = readFileSync(this.#rowsFile, "utf8").split("\n", rows + 1);
    return lines.map((line) => {
      const [time, ...cells] = line.split(",").map(Number);
      return {
        observedAtMs: time as number,
        values: Object.fromEntries(CHANNELS.map((channel, n) => [channel, cells[n] as number])),
      };
    });
  }
}
