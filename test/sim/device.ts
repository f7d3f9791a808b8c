import { writeFileSync } from "node:fs";
import type { ReportedMessage } from "@bellwether/protocol/messages/device.ts";
import type { OutboxOptions } from "../../agent/src/buffer/outbox.ts";
import type { ServeOutcome } from "../../agent/src/update/runner.io.ts";
import { SimAgent } from "./agent.ts";
import { type End, readIfThere, type SimDisk } from "./disk.ts";
import { CONFIRM, type ImageRepository } from "./models.ts";
import type { Network } from "./network.ts";
import { DeviceTruth } from "./truth.ts";
import type { Chance, World } from "./world.ts";

export interface DeviceOptions {
  readonly name: string;
  readonly assets: readonly string[];
  /** Whether its inputs can be read again from a cursor, or are gone with the moment. */
  readonly replays: boolean;
  /** Mean time between two readings of one asset, the rows of one, and the channels each row has beside two. */
  readonly periodMs: number;
  readonly rowsAtOnce: number;
  readonly channels: number;
  /** Long events that come with every reading, which want the room that rows have. */
  readonly events: number;
  readonly heartbeatMs: number;
  readonly buffer: Pick<
    OutboxOptions,
    "maxBytes" | "maxAgeMs" | "commitMs" | "joinMs" | "keepAckedMs" | "backfillBytesPerSecond"
  >;
  readonly clockSynced: boolean;
}

/** Clocks count whole milliseconds: what two of their readings say of the time between is that much in doubt. */
export const CLOCK_STEP_MS = 1;
/** How long systemd waits before it starts an agent again. */
const RESTART_MS = 1_000;

/** One machine with sensors: what outlives its agent's processes. */
export class SimDevice implements DeviceOptions {
  readonly name: string;
  readonly assets: readonly string[];
  readonly replays: boolean;
  readonly periodMs: number;
  readonly rowsAtOnce: number;
  readonly channels: number;
  readonly events: number;
  readonly heartbeatMs: number;
  readonly buffer: DeviceOptions["buffer"];
  readonly clockSynced: boolean;
  readonly world: World;
  readonly network: Network;
  readonly disk: SimDisk;
  readonly repository: ImageRepository;
  readonly chance: Chance;
  readonly truth = new DeviceTruth();
  bootId = "boot-0";
  bootedAtMs = 0;
  /** How far its wall clock is off. */
  offsetMs = 0;
  /** Sensors give new rows. */
  sensing = true;
  /** Probability that the process dies at one of an update's writes. */
  deaths = 0;
  /** Probabilities that a download arrives wrong, and that its file rots afterwards. */
  spoilt = 0;
  rots = 0;
  /** The digest that hung the process before. */
  hung: string | undefined;
  agent: SimAgent | undefined;
  #boots = 0;
  #starting = false;
  newest: Pick<ReportedMessage, "directorVersion" | "models" | "refusals"> | undefined;

  constructor(world: World, network: Network, disk: SimDisk, repository: ImageRepository, options: DeviceOptions) {
    this.world = world;
    this.network = network;
    this.disk = disk;
    this.repository = repository;
    this.chance = world.chance(options.name);
    this.name = options.name;
    this.assets = options.assets;
    this.replays = options.replays;
    this.periodMs = options.periodMs;
    this.rowsAtOnce = options.rowsAtOnce;
    this.channels = options.channels;
    this.events = options.events;
    this.heartbeatMs = options.heartbeatMs;
    this.buffer = options.buffer;
    this.clockSynced = options.clockSynced;
  }

  start(): void {
    this.#starting = false;
    if (this.agent !== undefined) return;
    const started = SimAgent.start(this);
    if (!started.ok) {
      this.world.say(this.name, `does not start: ${started.error.code}`);
      this.disk.left("killed");
      this.#startIn(RESTART_MS);
      return;
    }
    this.agent = started.value;
    this.world.say(this.name, `started, epoch ${started.value.outbox.epoch}`);
  }

  #startIn(delayMs: number): void {
    if (this.#starting) return;
    this.#starting = true;
    this.world.at(delayMs, () => this.start());
  }

  /** The agent's process ends at once, and is started again. */
  kill(end: End, restartMs = RESTART_MS): void {
    const { agent } = this;
    if (agent === undefined) return;
    this.world.say(this.name, end);
    agent.life.end();
    this.agent = undefined;
    this.network.deviceLeft(this.name, end);
    if (end === "powerCut") {
      this.bootId = `boot-${++this.#boots}`;
      this.bootedAtMs = this.world.nowMs;
    }
    // What the process is in the middle of ends first: it can no longer do anything to the world.
    this.world.at(0, () => this.disk.left(end));
    this.#startIn(Math.max(1, restartMs));
  }

  /** A process may die at every write of an update. */
  maybeDie(where: string): void {
    if (!this.chance.happens(this.deaths)) return;
    this.world.say(this.name, `dies ${where}`);
    this.kill(this.chance.happens(0.5) ? "killed" : "powerCut");
  }

  /** Some of the outbox's file turns out to be nonsense at the next start. */
  corruptOutbox(): void {
    if (this.agent !== undefined) return;
    const file = this.disk.path("outbox.sqlite");
    const bytes = readIfThere(file);
    if (bytes === undefined || bytes.length < 8_192) return;
    const at = 4_096 * this.chance.whole(0, Math.floor(bytes.length / 4_096) - 1);
    bytes.fill(0x5a, at, at + 512);
    writeFileSync(file, bytes);
    for (const row of [...this.truth.rows.values()].flat()) row.doubtful = true;
    this.world.say(this.name, `byte ${at} and after it rot in the outbox`);
  }

  /** A sensor gives its next rows: those of the time since the reading before. */
  observe(asset: string, atMs: number, sinceMs: number): void {
    const rows = this.truth.rowsOf(asset);
    for (let left = this.rowsAtOnce - 1; left >= 0; left--) {
      const observedAtMs = atMs - Math.floor((left * sinceMs) / this.rowsAtOnce);
      rows.push({ asset, n: rows.length + 1, observedAtMs, taken: false, doubtful: false });
    }
  }

  /** Promise 3: once a model ran here, every start runs a verified one. */
  servedAtStart(outcomes: readonly ServeOutcome[]): void {
    const broken = outcomes.filter(({ problem }) => problem !== undefined);
    if (broken.length > 0) this.world.broken(3, `${this.name} starts with a slot that is not whole`);
  }

  runs(digest: string | undefined): void {
    if (this.truth.expectsModel && digest === undefined)
      this.world.broken(3, `${this.name} runs no model after its start`);
  }

  reported(reported: Pick<ReportedMessage, "directorVersion" | "models" | "refusals">): void {
    this.newest = reported;
    // Promise 5, as the device itself says it; the server has its own look at the proof.
    for (const { outcome, active, target } of reported.models) {
      if (outcome !== "succeeded" || active === undefined || active.digest !== target?.digest) continue;
      const ranMs = this.truth.longestMs(active.digest, this.world.nowMs);
      if (ranMs > CONFIRM.soakSeconds * 1_000 - CLOCK_STEP_MS) continue;
      this.world.broken(
        5,
        `${this.name} says that version ${active.version} succeeded, which ran ${ranMs.toFixed(0)} ms`,
      );
    }
  }

  /** Promise 7: bytes on the disk stay within the budget, seen from outside. */
  lookAtDisk(): void {
    const bytes = this.disk.bytesOf("outbox.sqlite");
    if (bytes <= this.buffer.maxBytes) return;
    this.world.broken(7, `the outbox of ${this.name} takes ${bytes} bytes of ${this.buffer.maxBytes}`);
  }
}
