import { randomBytes, randomUUID } from "node:crypto";
import { readFile } from "node:fs/promises";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import type { RoleSpawner } from "@bellwether/protocol/process/roles.io.ts";
import { err, ok, type Result } from "@bellwether/protocol/result.ts";
import { deviceTopic } from "@bellwether/protocol/topics.ts";
import { buildApp } from "./api/app.io.ts";
import type { Caller } from "./api/caller.ts";
import { matchingDevices } from "./api/devices.ts";
import { allRoutes, type RouteDeps } from "./api/routes.ts";
import { type Broker, startBroker } from "./broker/broker.io.ts";
import { createDeviceLogin } from "./broker/login.io.ts";
import { createDirector } from "./devices/director.io.ts";
import { writeDurably } from "./files.io.ts";
import { createAudit, createIdempotency, createTokens } from "./governance/governance.io.ts";
import { createIngest } from "./ingest/ingest.io.ts";
import { createFeed } from "./live/feed.io.ts";
import { addFleetMetrics } from "./metrics/fleet.io.ts";
import { Metrics } from "./metrics/metrics.ts";
import { addHttpMetrics, addProcessMetrics } from "./metrics/process.io.ts";
import { openRepository } from "./registry/repository.io.ts";
import { createHistories } from "./retraining/histories.io.ts";
import { createTrainingRuns } from "./retraining/runs.io.ts";
import { createScheduler } from "./rollouts/scheduler.io.ts";
import type { Settings } from "./settings.ts";
import { openStore, type StoreRole } from "./store/sqlite/store.io.ts";

/** Every role the server's entry can be started for. */
export type ServerRole = StoreRole | "history-import" | "train";

export interface ServerOptions {
  readonly dir: string;
  readonly port: number;
  readonly mqttPort: number;
  readonly settings: Settings;
  readonly version: string;
  readonly spawner: RoleSpawner<ServerRole>;
  /** One line of the log. */
  log(level: "info" | "warn" | "error", message: string, detail?: unknown): void;
}

export interface RunningServer {
  readonly url: string;
  readonly mqttUrl: string;
  /** The file that holds the administrator's token. */
  readonly tokenFile: string;
  /** True when the release keys were made at this start: development keys. */
  readonly madeKeys: boolean;
  close(): Promise<void>;
}

/** Starts the whole fleet server in this process: the one place where its rooms are wired together. */
export async function startServer(options: ServerOptions): Promise<Result<RunningServer>> {
  const { dir, settings, log } = options;
  const now = Date.now;
  const report = (problem: string, detail: unknown) => log("error", problem, detail);
  const opened = await openStore({ dir, spawner: options.spawner });
  if (!opened.ok) return opened;
  const store = opened.value;
  const tokens = createTokens(store.governance);
  const tokenFile = join(dir, "admin.token");
  await tokens.ensureAdminFile(tokenFile, now());
  const repository = await openRepository(join(dir, "repository"), now);
  const identity = await openIdentity(join(dir, "server.json"));
  const login = createDeviceLogin({ ...identity, devices: store.devices, now });

  let broker: Broker | undefined;
  const theBroker = (): Broker => {
    if (!broker) throw new Error("the broker has not started yet");
    return broker;
  };
  const feed = createFeed({ store, broker: theBroker, rule: settings.presence, now, report });
  const director = createDirector({
    store,
    key: repository.directorKey,
    releaseOf: (model, version) => repository.releases().find((one) => one.model === model && one.version === version),
    publish: (device, document) =>
      void store.devices.get({ device }).then(
        (record) => record && theBroker().toDevice(device, deviceTopic(record.site, device).down("desired"), document),
        (cause) => report("director", cause),
      ),
    now,
  });
  const ingest = createIngest({
    store,
    toDevice: (device, topic, payload) => theBroker().toDevice(device, topic, payload),
    feed,
    onReported: () => undefined,
    now,
    report,
  });
  const matching = (selector: string) => matchingDevices(store, selector);
  const scheduler = createScheduler({
    store,
    assign: (assignment) => director.assign(assignment),
    matching,
    releaseFacts: async () => ({ limitLatencyMs: null, scoreScale: null }),
    now,
    report,
  });
  broker = await startBroker({
    port: options.mqttPort,
    limits: settings.broker,
    login,
    devices: store.devices,
    onMessage: (message) => ingest.offer(message),
    onDeviceListening: (device) => void director.resend(device).catch((cause) => report("director", cause)),
    onSubscription: (matches, give) => feed.welcome(matches, give),
    report,
  });
  const mqttUrl = `mqtt://127.0.0.1:${broker.port}`;

  const histories = createHistories({
    store: store.training,
    spawner: options.spawner,
    dir,
    bytesMax: settings.historyBytesMax,
    now,
  });
  const training = createTrainingRuns({
    store: store.training,
    spawner: options.spawner,
    dir: histories.dir,
    register: async ({ manifest }) => err("NOT_FOUND", { what: "registry for the model", name: manifest.model }),
    newId: () => `t-${randomBytes(8).toString("hex")}`,
    now,
    report,
  });

  const metrics = new Metrics();
  const stopProcessMetrics = addProcessMetrics(metrics, options.version);
  addFleetMetrics(metrics, {
    store,
    rule: settings.presence,
    ingest: () => ingest.counts(),
    broker: () => theBroker().counts(),
    now,
  });
  const deps: RouteDeps = {
    server: { version: options.version, ready: async () => ok(undefined) },
    metrics: { metrics },
    tokens: { store, tokens },
    audit: { store },
    enrolment: {
      store,
      login,
      mqttUrl: () => mqttUrl,
      rootMetadata: () => repository.rootMetadata(),
      kick: (device) => theBroker().kick("device", device),
    },
    devices: { store, rule: settings.presence, kick: (device) => theBroker().kick("device", device) },
    samples: { store },
    subscribers: { store, kick: (account) => theBroker().kick("subscriber", account) },
    repository: { repository },
    histories: { store, histories },
    training: { store, runs: training },
    rollouts: {
      store,
      scheduler,
      matching,
      findVersion: async (model, version) => {
        const release = repository.releases().find((one) => one.model === model && String(one.version) === version);
        return release && { ...release, phase: "released" };
      },
      newId: () => `r-${randomBytes(8).toString("hex")}`,
      now,
    },
  };
  const app = await buildApp({
    routes: allRoutes(deps),
    authenticate: async (token, nowMs): Promise<Caller | undefined> => {
      const device = await login.authenticate(token);
      if (device) return { kind: "device", device: device.device, site: device.site };
      return tokens.authenticate(token, nowMs);
    },
    audit: await createAudit(store.governance),
    idempotency: createIdempotency(store.governance),
    observe: addHttpMetrics(metrics),
  });
  await app.listen({ host: "127.0.0.1", port: options.port });
  scheduler.start(settings.rolloutTickMs);
  await training.open();
  return ok({
    url: `http://127.0.0.1:${(app.server.address() as AddressInfo).port}`,
    mqttUrl,
    tokenFile,
    madeKeys: repository.madeKeys,
    async close() {
      await scheduler.stop();
      await training.close();
      await app.close();
      await feed.close();
      await theBroker().close();
      await ingest.close();
      await repository.close();
      stopProcessMetrics();
      await store.close();
    },
  });
}

/** The broker's name, which logins are bound to, and the secret under nonces and device tokens. Made once. */
async function openIdentity(file: string): Promise<{ brokerId: string; secret: Buffer }> {
  const text = await readFile(file, "utf8").catch((cause: NodeJS.ErrnoException) => {
    if (cause.code === "ENOENT") return undefined;
    throw cause;
  });
  const kept = text === undefined ? undefined : (JSON.parse(text) as { brokerId: string; secretHex: string });
  const identity = kept ?? { brokerId: `bw-${randomUUID()}`, secretHex: randomBytes(32).toString("hex") };
  if (!kept) await writeDurably(file, JSON.stringify(identity));
  return { brokerId: identity.brokerId, secret: Buffer.from(identity.secretHex, "hex") };
}
