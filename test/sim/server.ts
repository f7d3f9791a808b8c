import { writeFileSync } from "node:fs";
import { ok, type Result, unwrap } from "@bellwether/protocol/result.ts";
import { deviceTopic } from "@bellwether/protocol/topics.ts";
import type Database from "better-sqlite3";
import { createDirector, type Director } from "../../fleet-server/src/devices/director.io.ts";
import { createIngest, type Ingest } from "../../fleet-server/src/ingest/ingest.io.ts";
import { createCompatibility } from "../../fleet-server/src/rollouts/compatibility.io.ts";
import { createRolloutOrders, type RolloutOrders } from "../../fleet-server/src/rollouts/orders.io.ts";
import { createScheduler, type Scheduler } from "../../fleet-server/src/rollouts/scheduler.io.ts";
import { arrivalsOf } from "../../fleet-server/src/store/sqlite/ingest-arrivals.ts";
import { roomsOver } from "../../fleet-server/src/store/sqlite/rooms.ts";
import {
  commitGroup,
  type Opened,
  openWriter,
  readAll,
  SETTLED_AFTER_MS,
  settleWaiting,
} from "../../fleet-server/src/store/sqlite/store.worker.ts";
import type { StoreCall, StoreReply } from "../../fleet-server/src/store/sqlite/wire.ts";
import type { Store } from "../../fleet-server/src/store/store.ts";
import { type End, readIfThere, type SimDisk } from "./disk.ts";
import type { ImageRepository } from "./models.ts";
import { type Network, SITE } from "./network.ts";
import { type Chance, Life, type World } from "./world.ts";

const FILE = "fleet.sqlite";
const ROLLOUT_TICK_MS = 2_500;
/** How much likelier a death is while groups wait to be written: that is seldom, and short. */
const DEADLY_WAIT = 100;
/** What a server with a fault does: some messages it can read, and cannot store. */
const FAULT = ["telemetry_batches", "prediction_batches", "events"]
  .map(
    (table) => `CREATE TEMP TRIGGER faulty_${table} BEFORE INSERT ON main.${table}
      WHEN new.${table === "events" ? "seq" : "to_seq"} % 5 = 0 BEGIN SELECT RAISE(ABORT, 'a fault of this server'); END`,
  )
  .join(";");

/** A fleet server: production's ingest, director, rollouts and SQL over a simulated disk, broker and clock. */
export class SimServer {
  readonly #world: World;
  readonly #chance: Chance;
  readonly #network: Network;
  readonly #repository: ImageRepository;
  readonly disk: SimDisk;
  /** The longest that a commit takes; some machines have slow disks. */
  readonly #writeMs: number;
  /** How far its wall clock is off. */
  offsetMs = 0;
  #life: Life | undefined;
  #opened: Opened | undefined;
  #ingest: Ingest | undefined;
  #scheduler: Scheduler | undefined;
  #store: Store | undefined;
  #orders: RolloutOrders | undefined;
  /** The store as it was at some time; what a restored backup is. */
  #backup: Buffer | undefined;
  restored = 0;
  /** This version of the server cannot store some of what it is sent. */
  faulty = false;
  /** Probability that the process dies right after a commit, before anybody is answered. */
  deaths = 0;
  onLooked: () => Promise<void> = async () => undefined;

  constructor(world: World, network: Network, disk: SimDisk, repository: ImageRepository, template: Buffer) {
    this.#world = world;
    this.#chance = world.chance("server");
    this.#writeMs = this.#chance.one([10, 20, 400]);
    this.#network = network;
    this.#repository = repository;
    this.disk = disk;
    writeFileSync(disk.path(FILE), template);
  }

  get running(): boolean {
    return this.#life !== undefined;
  }

  /** The running server's store. */
  get store(): Store {
    if (this.#store === undefined) throw new Error("the server does not run");
    return this.#store;
  }

  get orders(): RolloutOrders {
    if (this.#orders === undefined) throw new Error("the server does not run");
    return this.#orders;
  }

  nowMs(): number {
    return this.#life?.wallMs() ?? 0;
  }

  start(): void {
    if (this.#life !== undefined) return;
    const life = new Life(this.#world, this.#world.chance(`server life ${this.#world.nowMs}`), () => this.offsetMs);
    this.#life = life;
    this.#world.say("server", "starts");
    const before = readIfThere(this.disk.path(FILE));
    const opened = unwrap(openWriter(this.disk.path(FILE)));
    this.#opened = opened;
    if (this.faulty) opened.db.exec(FAULT);
    this.disk.watch(this.disk.path(FILE), opened.db, before);
    const store = this.#storeOver(life, opened.db);
    this.#store = store;
    this.#wire(life, store);
    this.#network.server = {
      life,
      onMessage: (sender, kind, payload) => this.#ingest?.offer(sender, kind, payload),
      onDeviceListening: (device) => void this.#director?.resend(device).catch(() => undefined),
    };
    const tick = () => {
      life.after(ROLLOUT_TICK_MS, () => {
        void this.#scheduler?.tick().then(() => this.onLooked());
        tick();
      });
    };
    tick();
  }

  #director: Director | undefined;

  #wire(life: Life, store: Store): void {
    const now = () => life.wallMs();
    const report = (problem: string, detail: unknown) =>
      this.#world.say("server", `${problem}: ${detail instanceof Error ? detail.message : JSON.stringify(detail)}`);
    const toDevice = (device: string, topic: string, payload: Uint8Array) =>
      life.alive && this.#network.toDevice(device, topic, payload);
    const director = createDirector({
      store,
      key: () => this.#repository.directorKey,
      releaseOf: (model, version) => this.#repository.releaseOf(model, version),
      publish: (device, document) => void toDevice(device, deviceTopic(SITE, device).down("desired"), document),
      now,
    });
    this.#director = director;
    this.#ingest = createIngest(
      {
        store,
        toDevice,
        feed: { asks: () => ({ withRecords: false }), committed: () => undefined, presence: () => undefined },
        onOpened: () => undefined,
        onReported: () => undefined,
        now,
        report,
      },
      life,
    );
    const matching = async (): Promise<Result<readonly string[]>> => {
      const all = await store.devices.list({ limit: 1_000 });
      return ok(all.filter(({ phase }) => phase === "active").map(({ device }) => device));
    };
    const incompatible = createCompatibility(store);
    const scheduler = createScheduler({
      store,
      assign: (assignment) => director.assign(assignment),
      matching,
      incompatible,
      releaseFacts: async (_model, digest) => this.#repository.factsOf(digest),
      now,
      report,
    });
    this.#scheduler = scheduler;
    let ids = 0;
    this.#orders = createRolloutOrders({
      store,
      scheduler,
      matching,
      incompatible,
      findVersion: async (model, version) => this.#repository.find(model, version),
      reach: () => ok(undefined),
      newId: () => `r-${this.#world.nowMs.toFixed(0)}-${++ids}`,
      now,
    });
  }

  /** The store's threads: calls wait for their turn, writes that wait together are one transaction, answers take a while. */
  #storeOver(life: Life, db: Database.Database): Store {
    const waiting = { write: [] as Waiting[], read: [] as Waiting[] };
    let cancelSettling: () => void = () => undefined;
    const settleSoon = () => {
      cancelSettling();
      if (!arrivalsOf(db).isAtRest) cancelSettling = life.after(SETTLED_AFTER_MS, () => settleWaiting(db));
    };
    let ids = 0;
    const flush = (mode: "write" | "read") => {
      const calls = waiting[mode].splice(0);
      const byId = new Map(calls.map((one) => [one.call.id, one]));
      const post = (reply: StoreReply) => {
        if (!("id" in reply)) return;
        const one = byId.get(reply.id);
        life.after(this.#chance.between(0, 8), () => {
          if ("failure" in reply) one?.fail(new Error(reply.failure));
          else one?.done(reply.value);
        });
      };
      const run = mode === "write" ? commitGroup : readAll;
      run(
        db,
        calls.map(({ call }) => call),
        post,
      );
      if (mode === "write") settleSoon();
      if (mode === "write") this.#maybeDie(arrivalsOf(db).areWaiting);
    };
    const rooms = roomsOver(
      ({ mode }, named) =>
        new Promise((done, fail) => {
          if (!life.alive) return;
          const first = waiting[mode].push({ call: { id: ids++, ...named }, done, fail }) === 1;
          if (first) life.after(this.#chance.between(0, mode === "write" ? this.#writeMs : 4), () => flush(mode));
        }),
    );
    return { ...rooms, close: async () => undefined };
  }

  /** The process is gone, whatever it was doing. */
  kill(end: End): void {
    if (this.#life === undefined) return;
    this.#world.say("server", end);
    this.#life.end();
    this.#life = undefined;
    this.#store = undefined;
    this.#network.serverLeft();
    this.disk.left(end);
    this.#opened?.release();
    this.#opened = undefined;
  }

  #maybeDie(groupsWait: boolean): void {
    if (this.deaths === 0 || !this.#chance.happens(this.deaths * (groupsWait ? DEADLY_WAIT : 1))) return;
    this.kill(this.#chance.one(["killed", "powerCut"] as const));
    this.#world.at(this.#chance.between(200, 5_000), () => this.start());
  }

  /** The next version of the server takes the place of this one, without its fault. */
  upgrade(): void {
    if (!this.faulty) return;
    this.faulty = false;
    this.#world.say("server", "upgraded");
    if (!this.running) return;
    this.kill("killed");
    this.#world.at(1_000, () => this.start());
  }

  /** Keeps what the store holds now. */
  backUp(): void {
    if (this.#opened === undefined) return;
    this.#backup = this.#opened.db.serialize();
    this.#world.say("server", "backed up");
  }

  /** Puts the backup in the place of the store, while no server runs. */
  restore(): void {
    if (this.#backup === undefined || this.#life !== undefined) return;
    writeFileSync(this.disk.path(FILE), this.#backup);
    this.restored++;
    this.#world.say("server", "restored from its backup");
  }
}

interface Waiting {
  readonly call: StoreCall;
  readonly done: (value: unknown) => void;
  readonly fail: (cause: Error) => void;
}
