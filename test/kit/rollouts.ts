import { createHash } from "node:crypto";
import { encodeBatch } from "@bellwether/protocol/batch.ts";
import type { BirthMessage, ReportedMessage, ReportedModel } from "@bellwether/protocol/messages/device.ts";
import type { InferenceRecord, StreamBatch } from "@bellwether/protocol/messages/stream.ts";
import type { Manifest } from "@bellwether/protocol/package/manifest.ts";
import { unwrap } from "@bellwether/protocol/result.ts";
import { type DirectorDocument, openDirector } from "@bellwether/protocol/trust/director.ts";
import { keyPairOf } from "@bellwether/protocol/trust/keys.ts";
import { matchingDevices } from "../../fleet-server/src/api/devices.ts";
import { createDirector, type Director } from "../../fleet-server/src/devices/director.io.ts";
import { createCompatibility } from "../../fleet-server/src/rollouts/compatibility.io.ts";
import { createRolloutOrders, type RolloutOrders } from "../../fleet-server/src/rollouts/orders.io.ts";
import type { RolloutRequest } from "../../fleet-server/src/rollouts/plan.ts";
import { createScheduler, type Scheduler, type SchedulerPorts } from "../../fleet-server/src/rollouts/scheduler.io.ts";
import type { RolloutRecord } from "../../fleet-server/src/store/rollouts.ts";
import type { Store } from "../../fleet-server/src/store/store.ts";
import { temporaryFolder } from "./folder.ts";
import { commitTogether } from "./ingest.ts";
import { testManifest } from "./models.ts";
import { temporaryStore } from "./store.ts";

const KEY = keyPairOf(createHash("sha256").update("director of a test").digest());
const MODEL = "pump-rul";
const MINUTE_MS = 60_000;

/** The digest of a version in {@link RolloutRoom}. */
export const digestOfVersion = (version: number): string => `sha256:${String(version).padStart(64, "0")}`;

/**
 * Rollouts over a real store and a real director, at a time of the test's own. Devices are what the test says they
 * reported; nothing happens unless `tick` is called.
 */
export class RolloutRoom {
  nowMs = 1_800_000_000_000;
  store!: Store;
  director!: Director;
  scheduler!: Scheduler;
  orders!: RolloutOrders;
  /** Every document that was published, by device, in order; each was opened as the device would. */
  readonly documents = new Map<string, DirectorDocument[]>();
  readonly reports: { readonly problem: string; readonly detail: unknown }[] = [];
  /** Replaces ports of the scheduler that is started next. */
  change: (ports: SchedulerPorts) => Partial<SchedulerPorts> = () => ({});
  readonly #dir = temporaryFolder("rollouts-");
  #revs = 0;
  readonly #seqs = new Map<string, number>();
  #ids = 0;

  static async open(devices: readonly string[] = []): Promise<RolloutRoom> {
    const room = new RolloutRoom();
    await room.restart();
    const token = {
      id: "t",
      site: "plant",
      labels: {},
      serials: null,
      preapproved: true,
      usesLeft: 1_000,
      expiresAtMs: 9e12,
      createdAtMs: 0,
      createdBy: "test",
      revoked: false,
    };
    unwrap(await room.store.devices.addEnrolmentToken({ hash: "h", token }));
    await room.enrol(...devices);
    return room;
  }

  /** As a server that ended and starts again on the same folder; what is in memory only is gone. */
  async restart(): Promise<void> {
    await this.store?.close();
    const store = await temporaryStore(this.#dir);
    this.store = store;
    const now = () => this.nowMs;
    this.director = createDirector({
      store,
      key: () => KEY,
      releaseOf: (_model, version) => ({
        manifestDigest: digestOfVersion(version),
        manifestLength: 100,
        releaseCounter: version,
      }),
      publish: (device, bytes) => this.#published(device, bytes),
      now,
    });
    const incompatible = createCompatibility(store);
    const matching = (selector: string, sites?: readonly string[]) => matchingDevices(store, selector, sites);
    const ports: SchedulerPorts = {
      store,
      assign: (assignment) => this.director.assign(assignment),
      matching,
      incompatible,
      releaseFacts: async () => ({ limitLatencyMs: 50, scoreScale: 10 }),
      now,
      report: (problem, detail) => void this.reports.push({ problem, detail }),
    };
    this.scheduler = createScheduler({ ...ports, ...this.change(ports) });
    this.orders = createRolloutOrders({
      store,
      scheduler: this.scheduler,
      findVersion: (model, reference) => store.registry.find({ model, reference }),
      reach: () => ({ ok: true, value: undefined }),
      matching,
      incompatible,
      newId: () => `r-${++this.#ids}`,
      now,
    });
  }

  async enrol(...devices: readonly string[]): Promise<void> {
    for (const device of devices) {
      const asked = { hash: "h", device, serial: null, publicHex: device, nowMs: this.nowMs, reference: "" };
      unwrap(await this.store.devices.enrol(asked));
      await this.heard(device);
    }
  }

  /** Keeps the next version of the model, released unless another phase is given. */
  async version(version: number, changes: Partial<Manifest> = {}, phase: "valid" | "released" = "released") {
    const record = {
      model: MODEL,
      version,
      manifestDigest: digestOfVersion(version),
      manifestLength: 100,
      manifest: testManifest({ version, ...changes }),
      createdAtMs: this.nowMs,
      createdBy: "test",
    };
    unwrap(await this.store.registry.add({ version: record }));
    const move = { model: MODEL, version, from: ["validating"] as const, to: phase, nowMs: this.nowMs };
    unwrap(await this.store.registry.move(move));
  }

  /** Plans and starts a rollout of a version. */
  async start(version: number, request: Partial<RolloutRequest> = {}): Promise<RolloutRecord> {
    const whole = { model: MODEL, version: String(version), target: { selector: "" }, ...request };
    const { id } = unwrap(await this.orders.create(whole, "test"));
    return unwrap(await this.orders.order(id, "start"));
  }

  /** Lets time pass, the devices being heard all the while, and looks at all rollouts once. */
  async tick(ms = 0, heard: readonly string[] = []): Promise<void> {
    this.nowMs += ms;
    for (const device of heard) await this.heard(device);
    await this.scheduler.tick();
  }

  async heard(device: string): Promise<void> {
    await this.store.devices.seen({ at: [[device, this.nowMs]] });
  }

  /** The documents a device was sent. */
  sent(device: string): readonly DirectorDocument[] {
    return this.documents.get(device) ?? [];
  }

  /** What the newest document asks the device to run. */
  asked(device: string): number | undefined {
    return this.sent(device)
      .at(-1)
      ?.models.find(({ model }) => model === MODEL)?.version;
  }

  /** The device answers its newest document: by default it has proven what was asked. */
  async answers(device: string, changes: Partial<ReportedModel> = {}): Promise<void> {
    const document = this.sent(device).at(-1)!;
    const wanted = document.models.find(({ model }) => model === MODEL);
    const version = wanted?.version ?? 1;
    const digest = digestOfVersion(version);
    await this.says(device, {
      directorVersion: document.version,
      models: [
        {
          model: MODEL,
          phase: "idle",
          active: { version, digest },
          target: { version, digest, directorVersion: document.version },
          outcome: "succeeded",
          evidence: { goldenMatched: true, inferences: 1_000, errors: 0, p99LatencyUs: 100, soakedMs: 1e9 },
          ...changes,
        },
      ],
    });
  }

  async says(device: string, message: Partial<ReportedMessage>): Promise<void> {
    await this.heard(device);
    const whole: ReportedMessage = {
      v: 1,
      session: 1,
      rev: ++this.#revs,
      directorVersion: 0,
      models: [],
      refusals: [],
    };
    await this.store.devices.reported({ device, message: { ...whole, ...message }, nowMs: this.nowMs });
  }

  async born(device: string, changes: Partial<BirthMessage> = {}): Promise<void> {
    const birth: BirthMessage = {
      v: 1,
      session: 1,
      asset: "pump-1",
      index: 0,
      of: 1,
      channels: [{ channel: "x", unit: "mm/s" }],
      facts: { arch: "x64", memoryMb: "4096" },
      bindings: {},
      agentVersion: "1.0.0",
      ...changes,
    };
    await this.store.devices.birth({ device, message: birth });
  }

  /** Predictions of a version, committed now. */
  async predicts(device: string, version: number, n: number, changes: Partial<InferenceRecord> = {}): Promise<void> {
    const fromSeq = this.#seqs.get(device) ?? 1;
    this.#seqs.set(device, fromSeq + n);
    const records = Array.from({ length: n }, (_, i) => ({
      asset: "pump-1",
      observedAtMs: this.nowMs + i,
      model: MODEL,
      version,
      digest: digestOfVersion(version),
      value: i % 30,
      latencyUs: 1_000,
      ...changes,
    }));
    const clock = { bootId: "b", monoMs: 0, wallMs: this.nowMs, clockSynced: true };
    const batch = { v: 1, epoch: "00000000000000aa", stream: "inference", fromSeq, records, hist: false, clock };
    const bytes = encodeBatch(batch as StreamBatch);
    const message = { device, site: "plant", stream: "inference" as const, bytes, receivedAtMs: this.nowMs };
    const [answer] = await commitTogether(this.store.ingest.commit, [message]);
    if (answer?.outcome !== "committed") throw new Error(`predictions of ${device}: ${answer?.outcome}`);
  }

  async rollout(id: string): Promise<RolloutRecord> {
    return (await this.store.rollouts.get({ id }))!;
  }

  /** Devices by the phase of their execution. */
  async executions(id: string): Promise<Record<string, string>> {
    const views = await this.store.rollouts.executions({ id });
    return Object.fromEntries(views.map(({ device, phase }) => [device, phase]));
  }

  /** Names of the devices of a wave. */
  async wave(id: string, index: number): Promise<string[]> {
    const views = await this.store.rollouts.executions({ id });
    return views.filter(({ wave }) => wave === index).map(({ device }) => device);
  }

  #published(device: string, bytes: Uint8Array): void {
    const sent = this.documents.get(device) ?? [];
    const lastVersion = sent.at(-1)?.version ?? 0;
    const trust = { device, keys: [KEY.publicKey], lastVersion, nowMs: this.nowMs };
    this.documents.set(device, [...sent, unwrap(openDirector(bytes, trust))]);
  }
}

export { MINUTE_MS, MODEL };
