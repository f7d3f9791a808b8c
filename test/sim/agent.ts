import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { basename } from "node:path";
import { problem } from "@bellwether/protocol/errors.ts";
import type { ClockReading, EventRecord } from "@bellwether/protocol/messages/stream.ts";
import { digestOf } from "@bellwether/protocol/package/check.ts";
import { err, ok, type Result } from "@bellwether/protocol/result.ts";
import { DIRECT } from "@bellwether/protocol/tls/transport.ts";
import { openOutbox } from "../../agent/src/buffer/outbox.io.ts";
import type { Outbox, OutboxChunk } from "../../agent/src/buffer/outbox.ts";
import { Intake } from "../../agent/src/inference/intake.ts";
import { fileCounter } from "../../agent/src/link/counter.io.ts";
import { MqttLink } from "../../agent/src/link/link.ts";
import type { OutboxPort } from "../../agent/src/link/ports.ts";
import type { DownloadRequest } from "../../agent/src/update/download.io.ts";
import { createUpdater, type Serving, type Updater } from "../../agent/src/update/runner.io.ts";
import { openSlots, type Slots } from "../../agent/src/update/slots.io.ts";
import type { SimDevice } from "./device.ts";
import { MODEL } from "./models.ts";
import { SITE } from "./network.ts";
import { SimAlerts, SimRuntime } from "./runtime.ts";
import type { TrueRow } from "./truth.ts";
import { Life } from "./world.ts";

const COMMIT_RETRY_MS = 1_000;
const ROWS_PER_COMMIT = 64;
/** How long the way back from a model that hung may take. */
const HUNG_MS_MAX = 5_000;
/** Rows of one input that may be on their way to the disk. */
const ROWS_AHEAD_MAX = 200;

/** A question of the link for what may be sent. */
interface Take {
  readonly maxBytes: number;
  settle(chunks: readonly OutboxChunk[]): void;
}

/** One life of an agent's process: production's intake, outbox, link and updater, wired as `agent.io.ts` wires them. */
export class SimAgent {
  readonly life: Life;
  readonly #device: SimDevice;
  readonly #runtime: SimRuntime;
  readonly outbox: Outbox;
  readonly link: MqttLink;
  readonly updater: Updater;
  readonly #intake: Intake;
  #take: Take | undefined;
  #cancelCommit: (() => void) | undefined;
  readonly #ahead = new Map<string, number>();

  /** An agent over a device's disk; `OUTBOX_…` when the disk does not let it live. */
  static start(device: SimDevice): Result<SimAgent> {
    const { world, name } = device;
    const life = new Life(world, world.chance(`${name} life ${world.nowMs}`), () => device.offsetMs);
    const clock = (): ClockReading => ({
      bootId: device.bootId,
      monoMs: world.nowMs - device.bootedAtMs,
      wallMs: life.wallMs(),
      clockSynced: device.clockSynced,
    });
    let agent: SimAgent | undefined;
    const outbox = openOutbox(
      device.disk.path("outbox.sqlite"),
      {
        ...device.buffer,
        clock,
        time: life,
        drawEpoch: () => device.chance.hex(16),
        resolutionOf: (_asset, channel) => (channel === "x" ? 0.125 : 0.01),
        sendable: () => agent?.answerTake(),
        noticed: ({ code }) => world.say(name, code),
      },
      device.disk.open,
    );
    if (!outbox.ok) return outbox;
    agent = new SimAgent(device, life, outbox.value);
    agent.#open();
    return ok(agent);
  }

  private constructor(device: SimDevice, life: Life, outbox: Outbox) {
    this.life = life;
    this.#device = device;
    this.outbox = outbox;
    const { world, name, truth, repository } = device;
    this.#runtime = new SimRuntime({
      world,
      device: name,
      repository,
      truth,
      wallMs: () => life.wallMs(),
      hangs: (digest) => this.#hang(digest),
    });
    const alerts = new SimAlerts();
    this.#intake = new Intake({
      process: async (rows) => {
        await life.answered(device.chance.between(0, 4), () => undefined);
        const inference = rows.flatMap((row) => this.#runtime.predict(row, numberOf(row.values["x"])));
        return { inference, events: alerts.of(inference), drift: [] };
      },
      append: (entry) => life.alive && outbox.append(entry),
      commit: (when) => (when === "now" ? this.#commit() : this.#commitIn(device.buffer.commitMs)),
      failed: (cause) => world.broken(1, `${name} could not process rows: ${cause}`),
      rowsPerCommit: ROWS_PER_COMMIT,
    });
    this.updater = this.#createUpdater();
    this.link = new MqttLink(
      {
        mqttUrl: "mqtt://server",
        site: SITE,
        device: name,
        heartbeatMs: device.heartbeatMs,
        login: async () => {
          const may = await life.answered(30, () => device.network.answers(name));
          return may
            ? ok({ username: name, password: "" })
            : err("SERVER_UNREACHABLE", { url: "https://server", reason: "no answer" });
        },
        outbox: this.#outboxPort(),
        sessions: fileCounter(device.disk.path("sessions"), () => life.wallMs()),
        births: () =>
          device.assets.map((asset) => ({
            asset,
            channels: [
              { channel: "x", unit: "mm/s", resolution: 0.125 },
              { channel: "load", unit: "%", resolution: 0.01 },
            ],
            facts: { arch: "x64", memoryMb: "1024" },
            agentVersion: "1.0.0",
          })),
        onDesired: (bytes) => this.updater.onDesired(bytes),
        onPhase: (phase) => world.say(name, `link ${phase}`),
      },
      { time: life, connect: (options) => life.seen(device.network.connect(name, life, options)) },
    );
  }

  /** Models first, then rows, then the network. */
  #open(): void {
    const { hung } = this.#device;
    const atStart = this.updater.servingAtStart().flatMap((serving) => {
      if (hung === undefined || basename(serving.slotDir) !== hung.replace("sha256:", "")) return [serving];
      const { model, predecessorSlotDir } = serving;
      return predecessorSlotDir === undefined ? [] : [{ model, slotDir: predecessorSlotDir }];
    });
    const outcomes = atStart.map((serving) => ({ ...serving, ...this.#runtime.serve(serving) }));
    this.#device.servedAtStart(outcomes);
    // The model that hung the process before is not served again: its way back to the one before it takes a moment.
    this.life.after(hung === undefined ? 0 : HUNG_MS_MAX, () => this.#device.runs(this.#runtime.servingDigest));
    this.updater.start();
    for (const { model, slotDir, problem: broken } of outcomes) {
      if (broken) this.updater.onBroken(model, `sha256:${basename(slotDir)}`, broken);
    }
    if (hung !== undefined) {
      this.updater.onBroken(MODEL, hung, problem("INFERENCE_HUNG", { model: MODEL, ms: 6_000, limitMs: 5_000 }));
      this.#device.hung = undefined;
    }
    const cursors = this.outbox.cursors();
    for (const asset of this.#device.assets) this.#sense(asset, Number(cursors[asset] ?? 0));
    this.link.start();
  }

  /** Rows of one asset as time passes: those of a replay go on at its cursor, those of a live sensor are gone with the process. */
  #sense(asset: string, cursor: number): void {
    const { truth, replays, chance, periodMs } = this.#device;
    const rows = truth.rowsOf(asset);
    if (replays) for (const row of rows.slice(0, cursor)) row.taken = true;
    let given = replays ? cursor : rows.length;
    const read = () => {
      this.life.after(chance.between(periodMs / 2, periodMs * 1.5), () => {
        read();
        if (!this.#device.sensing && given >= rows.length) return;
        if ((this.#ahead.get(asset) ?? 0) >= ROWS_AHEAD_MAX) return;
        if (given >= rows.length) {
          this.#device.observe(asset, this.life.wallMs(), periodMs);
          this.outbox.append({ events: longEvents(this.#device.events, rows.length, this.life.wallMs()) });
        }
        const next = rows.slice(given, given + 50);
        given += next.length;
        void this.#offer(asset, next);
      });
    };
    read();
  }

  async #offer(asset: string, rows: readonly TrueRow[]): Promise<void> {
    const { channels } = this.#device;
    this.#ahead.set(asset, (this.#ahead.get(asset) ?? 0) + rows.length);
    const offered = rows.map(({ observedAtMs, n }) => ({ asset, observedAtMs, values: valuesOf(n, channels) }));
    await this.#intake.offer(asset, offered, this.#device.replays ? (rows.at(-1)?.n ?? 0) : undefined);
    if (!this.life.alive) return;
    this.#ahead.set(asset, (this.#ahead.get(asset) ?? 0) - rows.length);
    for (const row of rows) row.taken = true;
  }

  #commit(): void {
    if (!this.life.alive) return;
    this.#cancelCommit?.();
    this.#cancelCommit = undefined;
    if (this.outbox.commit().ok) this.#intake.committed();
    else this.#commitIn(COMMIT_RETRY_MS);
    this.#device.lookAtDisk();
  }

  #commitIn(delayMs: number): void {
    this.#cancelCommit ??= this.life.after(delayMs, () => this.#commit());
  }

  /** Between the link's thread and the outbox's: every word takes a moment, and none overtakes another. */
  #outboxPort(): OutboxPort {
    const { life } = this;
    const hop = () => this.#device.chance.between(0, 2);
    const onTheirWay: (() => void)[] = [];
    const post = (word: () => void) => {
      onTheirWay.push(word);
      life.after(hop(), () => onTheirWay.shift()?.());
    };
    const take = (taken: Take | undefined) => {
      this.#take?.settle([]);
      this.#take = taken;
    };
    return {
      open: () =>
        new Promise((resolve) => {
          post(() => {
            take(undefined);
            const positions = this.outbox.open();
            life.after(hop(), () => resolve(positions));
          });
        }),
      take: (maxBytes) =>
        new Promise((resolve) => {
          post(() => {
            take({ maxBytes, settle: (chunks) => void life.after(hop(), () => resolve(chunks)) });
            this.answerTake();
          });
        }),
      ack: (ack) =>
        post(() => {
          if (this.outbox.acked(ack).newEpoch) {
            this.#device.world.say(this.#device.name, `epoch ${this.outbox.epoch}`);
            this.link.epochChanged();
          }
          this.answerTake();
        }),
      setOnline: (online) => post(() => this.outbox.setOnline(online)),
    };
  }

  answerTake(): void {
    const take = this.#take;
    if (take === undefined || !this.life.alive) return;
    const chunks = this.outbox.nextChunks(take.maxBytes);
    if (chunks.length === 0) return;
    this.#take = undefined;
    take.settle(chunks);
  }

  #createUpdater(): Updater {
    const { life } = this;
    const { world, name, disk, network, repository, chance } = this.#device;
    return createUpdater(
      {
        stateDir: disk.dir,
        serverUrl: "https://server",
        device: name,
        rootMetadata: "",
        token: async () => ok("token"),
        transport: () => DIRECT,
        labels: () => ({ site: SITE, device: name }),
        compatible: () => ok(undefined),
        serve: (_: string, serving: Serving | undefined) =>
          life.answered(chance.between(5, 400), () => this.#runtime.serve(serving)),
        figures: () => life.answered(1, () => this.#runtime.figures()),
        report: (reported) => {
          if (!life.alive) return;
          this.link.report(reported);
          this.#device.reported(reported);
        },
        onForged: () => undefined,
        now: () => life.wallMs(),
        clockSynced: () => true,
        log: (_level, message, fields) => life.alive && world.say(name, `${message} ${JSON.stringify(fields ?? {})}`),
      },
      {
        slots: this.#slots(),
        time: life,
        askTime: async () => undefined,
        askMetadata: ({ targets }) =>
          life.answered(chance.between(20, 300), () =>
            network.answers(name)
              ? repository.answer(targets)
              : {
                  ok: false,
                  problem: problem("SERVER_UNREACHABLE", { url: "https://server", reason: "no answer" }),
                  again: true,
                },
          ),
        download: (request) => this.#download(request),
        selfTest: (slotDir) => life.answered(chance.between(50, 2_000), () => this.#selfTest(slotDir)),
      },
    );
  }

  /** The disk as updates see it: the process may die at any of their writes, and a dead one writes nothing. */
  #slots(): Slots {
    const slots = openSlots(this.#device.disk.dir);
    const guarded =
      <A extends unknown[], R>(what: string, run: (...args: A) => R) =>
      (...args: A): R => {
        if (!this.life.alive) throw Object.assign(new Error("the process is gone"), { code: "EIO" });
        this.#device.maybeDie(`before ${what}`);
        if (!this.life.alive) throw Object.assign(new Error("the process is gone"), { code: "EIO" });
        const answer = run(...args);
        this.#device.maybeDie(`after ${what}`);
        return answer;
      };
    return {
      ...slots,
      save: guarded("save", (state) => {
        slots.save(state);
        // A first model that is taken back leaves none; every other leaves the one before it.
        this.#device.truth.expectsModel = state.models.some(({ phase, active, previous }) =>
          phase === "rollingBack" ? previous !== undefined : active !== undefined,
        );
      }),
      promote: guarded("promote", slots.promote),
      discard: guarded("discard", slots.discard),
      keepOnly: guarded("keepOnly", slots.keepOnly),
    };
  }

  /** Gets a blob as `downloadBlob` does, in two halves between which the line or the process may go. */
  async #download({ file, what, digest, url, length }: DownloadRequest): Promise<Result<void>> {
    const { network, name, repository, chance, world } = this.#device;
    const bytes = repository.blob(decodeURIComponent(basename(url)));
    const failed = () => err("DOWNLOAD_FAILED", { what, reason: "the line is down" });
    for (const half of [Math.floor(length / 2), length]) {
      await this.life.answered(chance.between(20, 800), () => undefined);
      if (bytes === undefined || !network.answers(name)) return failed();
      writeFileSync(file, bytes.subarray(0, half));
    }
    if (chance.happens(this.#device.spoilt)) {
      world.say(name, `what arrived of ${what} is not what was signed`);
      writeFileSync(file, Buffer.alloc(length));
    }
    const actual = digestOf(readFileSync(file));
    if (actual !== digest) return err("DIGEST_MISMATCH", { what, actual, expected: digest });
    if (chance.happens(this.#device.rots)) {
      world.say(name, `${what} rots on the disk`);
      writeFileSync(file, Buffer.alloc(length));
    }
    return ok(undefined);
  }

  #selfTest(slotDir: string): Result<{ readonly goldenMaxError: number }> {
    const version = this.#device.repository.byDigest(`sha256:${basename(slotDir)}`);
    if (version === undefined || version.kind === "untested")
      return err("SELF_TEST_FAILED", { reason: "golden vectors differ" });
    return ok({ goldenMaxError: 0 });
  }

  /** The watchdog finds the pipeline in a native call that does not return: it notes why and ends the process. */
  #hang(digest: string): void {
    if (!this.life.alive) return;
    this.#device.hung = digest;
    this.#device.kill("killed");
  }
}

function numberOf(x: number | null | undefined): number {
  return Math.round((x ?? 0) * 8);
}

/** What the nth row of an asset holds: its number at a resolution, and as much as is asked that looks like chance. */
export function valuesOf(n: number, channels: number): Record<string, number> {
  const values: Record<string, number> = { x: n / 8, load: ((n * 7_919) % 10_000) / 100 };
  for (let i = 0; i < channels; i++) values[`c${i}`] = mixed(1_009 * n + i) / 100;
  return values;
}

/** A number below a million that looks like chance beside its neighbours, so that rows of them do not compress. */
function mixed(n: number): number {
  let bits = Math.imul(n, 0x9e37_79b1);
  bits = Math.imul(bits ^ (bits >>> 15), 0x85eb_ca6b);
  return ((bits ^ (bits >>> 13)) >>> 0) % 1_000_000;
}

/** Events whose texts do not compress. */
function longEvents(count: number, n: number, atMs: number): EventRecord[] {
  return Array.from({ length: count }, (_, i) => {
    const part = (j: number) => createHash("sha512").update(`${n} ${i} ${j}`).digest("base64");
    const text = Array.from({ length: 11 }, (_, j) => part(j)).join("");
    return { atMs, kind: "device", severity: "info", code: "LONG", text };
  });
}
