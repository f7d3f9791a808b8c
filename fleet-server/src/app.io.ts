import { randomBytes, randomUUID } from "node:crypto";
import { readFile } from "node:fs/promises";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { Server as SecureServer } from "node:tls";
import { problem } from "@bellwether/protocol/errors.ts";
import type { CarriedBaseline } from "@bellwether/protocol/messages/baseline.ts";
import type { RoleSpawner } from "@bellwether/protocol/process/roles.io.ts";
import { err, ok, type Result } from "@bellwether/protocol/result.ts";
import { deviceTopic } from "@bellwether/protocol/topics.ts";
import { buildApp, secureOptions } from "./api/app.io.ts";
import { type Caller, callerName } from "./api/caller.ts";
import { matchingDevices } from "./api/devices.ts";
import { allRoutes, type RouteDeps } from "./api/routes.ts";
import { type Broker, startBroker } from "./broker/broker.io.ts";
import { BROKER_LIMITS } from "./broker/limits.ts";
import { createDeviceLogin } from "./broker/login.io.ts";
import { loopShares, watchLoop } from "./broker/loop.io.ts";
import { createDirector, documentExpiry } from "./devices/director.io.ts";
import { Instances } from "./devices/instances.ts";
import { createReferences } from "./drift/references.io.ts";
import { createDriftWatch } from "./drift/watch.io.ts";
import { writeDurably } from "./files.io.ts";
import { createAudit, createIdempotency, createTokens } from "./governance/governance.io.ts";
import { createIngest } from "./ingest/ingest.io.ts";
import { createFeed } from "./live/feed.io.ts";
import { addFleetMetrics } from "./metrics/fleet.io.ts";
import { Metrics } from "./metrics/metrics.ts";
import { addHttpMetrics, addProcessMetrics } from "./metrics/process.io.ts";
import { addStoreMetrics } from "./metrics/store.io.ts";
import { appendToJournal, journalBeside, journaled } from "./recovery/journal.io.ts";
import { readReport } from "./recovery/restore.io.ts";
import { openBlobs } from "./registry/blobs.io.ts";
import { createExpiryWatch } from "./registry/expiry-watch.io.ts";
import { repositoryIn } from "./registry/first-metadata.io.ts";
import { createRegistry } from "./registry/registry.io.ts";
import { openRepository } from "./registry/repository.io.ts";
import { createSandbox, type SandboxRole } from "./registry/sandbox.io.ts";
import { createFleetSnapshots } from "./retraining/fleet-snapshots.io.ts";
import { createHistories } from "./retraining/histories.io.ts";
import { createLineage } from "./retraining/lineage.io.ts";
import type { BuiltPackage } from "./retraining/package.ts";
import { createPerformance } from "./retraining/performance.io.ts";
import { createRetrainings } from "./retraining/retrainings.io.ts";
import { createTrainingRuns } from "./retraining/runs.io.ts";
import { createCompatibility } from "./rollouts/compatibility.io.ts";
import { createRolloutOrders, type RolloutOrders } from "./rollouts/orders.io.ts";
import { createScheduler } from "./rollouts/scheduler.io.ts";
import { startUpkeep } from "./series/upkeep.io.ts";
import type { Settings } from "./settings.ts";
import { openStore, type StoreRole } from "./store/sqlite/store.io.ts";
import type { Store } from "./store/store.ts";
import type { TrainedVersion } from "./store/training.ts";
import { type DeviceCertificates, openDeviceCertificates } from "./tls/device-certificates.io.ts";
import { namesOf, openServerTls, type ServerTls } from "./tls/server-tls.io.ts";
import { watchYoungGeneration } from "./young-generation.io.ts";

/** Every role the server's entry can be started for. */
export type ServerRole = StoreRole | SandboxRole | "history-import" | "train" | "retrain" | "development-keys";

/** The store must answer a read and an empty write within this to be called ready. */
const READY_WITHIN_MS = 2_000;

export interface ServerOptions {
  readonly dir: string;
  readonly port: number;
  readonly mqttPort: number;
  /** Where it is reached from, with TLS; absent: loopback, in clear text. */
  readonly listen?: {
    readonly host: string;
    /** What other machines call the server; the first is in its URLs. Empty: the host, or this machine's own names. */
    readonly names: readonly string[];
    /** A certificate of one's own instead of the development CA's. */
    readonly own?: { readonly certificateFile: string; readonly keyFile: string };
    /** Devices must show a certificate: one of the server's CA of devices, or of the CAs in `caFile`. */
    readonly clientCertificates?: { readonly caFile?: string };
  };
  readonly settings: Settings;
  /** Whether release keys that are only for trying things out may serve. */
  readonly developmentKeys: boolean;
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
  /** True where the release keys are development keys. */
  readonly developmentKeys: boolean;
  /** With TLS: the CA that devices pin, and whether this start made it. */
  readonly caFingerprint: string | undefined;
  readonly madeCa: boolean;
  /** Takes certificate files that changed; sessions that are open go on. */
  reload(): Promise<void>;
  close(): Promise<void>;
}

/** What has been opened, to be closed in the opposite order. */
type Closers = (() => Promise<void> | void)[];

async function closeAll(closers: Closers): Promise<void> {
  for (const close of closers.splice(0).reverse()) await close();
}

/** Starts the whole fleet server in this process. What cannot be had is a problem, and nothing stays open behind it. */
export async function startServer(options: ServerOptions): Promise<Result<RunningServer>> {
  const closers: Closers = [];
  try {
    const started = await wire(options, closers);
    if (!started.ok) await closeAll(closers);
    return started;
  } catch (cause) {
    await closeAll(closers);
    throw cause;
  }
}

/** The one place where the server's rooms are wired together. */
async function wire(options: ServerOptions, closers: Closers): Promise<Result<RunningServer>> {
  const { dir, settings, log } = options;
  const now = Date.now;
  const report = (problem: string, detail: unknown) => log("error", problem, detail);
  const opened = await openStore({
    dir,
    spawner: options.spawner,
    onLost(cause) {
      // Nothing can be kept any more: better to be started anew than to look alive.
      report("the store's thread has ended", cause);
      process.exit(1);
    },
  });
  if (!opened.ok) return opened;
  const store = opened.value;
  closers.push(() => store.close());
  const tokens = createTokens(store.governance);
  const tokenFile = join(dir, "admin.token");
  await tokens.ensureAdminFile(tokenFile, now());
  const found = await openRepository(repositoryIn(dir), now);
  if (!found.ok) return found;
  const repository = found.value;
  closers.push(() => repository.close());
  if (repository.development && !options.developmentKeys) return err("DEVELOPMENT_KEYS_REFUSED");
  const blobs = await openBlobs(join(dir, "blobs"));
  const sandbox = createSandbox(options.spawner);
  const tls = await openTls(options, now, report);
  if (tls && !tls.ok) return tls;
  const secured = tls?.value;
  if (secured) closers.push(() => secured.close());
  const required = options.listen?.clientCertificates;
  const given = secured && { dir: join(dir, "tls"), ...(required ? { required } : {}), now };
  const certificates = given && (await openDeviceCertificates(given));
  if (certificates && !certificates.ok) return certificates;
  const registry = createRegistry({ store, blobs, sandbox, repository, now, report });
  const identity = await openIdentity(join(dir, "server.json"));
  const loop = watchLoop();
  closers.push(async () => loop.stop());
  const login = createDeviceLogin({
    ...identity,
    loopShare: loop.share,
    devices: store.devices,
    onForged: (device) => {
      const note = { device, code: "DEVICE_LOGIN_REFUSED", text: "somebody without its key asked to be let in as it" };
      const kept = store.devices.noteSecurity({ ...note, nowMs: now(), reference: "login" });
      kept.catch((cause) => report("login", cause));
    },
    now,
  });

  let broker: Broker | undefined;
  const theBroker = (): Broker => {
    if (!broker) throw new Error("the broker has not started yet");
    return broker;
  };
  const metrics = new Metrics();
  closers.push(addProcessMetrics(metrics, options.version));
  const feed = createFeed({ store, broker: theBroker, rule: settings.presence, now, report });
  closers.push(() => feed.close());
  const director = createDirector({
    store,
    key: () => repository.directorKey,
    releaseOf: (model, version) => repository.releases().find((one) => one.model === model && one.version === version),
    publish(device, document) {
      const site = theBroker().siteOf(device);
      if (site !== undefined) theBroker().toDevice(device, deviceTopic(site, device).down("desired"), document);
    },
    now,
  });
  const expiries = createExpiryWatch({
    async signed() {
      const oldest = await store.director.oldest({});
      const documents = oldest ? [documentExpiry(oldest)] : [];
      const certified = [...(secured?.signed() ?? []), ...(certificates?.value.signed() ?? [])];
      return [...repository.signed(), ...documents, ...certified];
    },
    now,
    warn: (sentence) => log("warn", sentence),
  });
  closers.push(() => expiries.stop());
  const instances = new Instances();
  const ingest = createIngest({
    store,
    toDevice: (device, topic, payload) => theBroker().toDevice(device, topic, payload),
    feed,
    onOpened: (device, instance) => {
      if (!instances.opened(device, instance ?? "")) return;
      const text = "two processes speak for it in turn: its key is on two machines";
      const flagged = store.devices.flagCloned({ device, text, nowMs: now(), reference: instance ?? "" });
      flagged.catch((cause) => report("clone", cause));
    },
    onReported: (device) => void director.reported(device).catch((cause) => report("director", cause)),
    now,
    report,
  });
  closers.push(() => ingest.close());
  const matching = (selector: string, sites?: readonly string[]) => matchingDevices(store, selector, sites);
  const incompatible = createCompatibility(store);
  const documents = underWay();
  const scheduler = createScheduler({
    store,
    assign: (assignment) => documents.during(() => director.assign(assignment)),
    matching,
    incompatible,
    releaseFacts: async (model, digest) => {
      const found = await store.registry.findDigest({ model, digest });
      return {
        limitLatencyMs: found?.manifest.limits.p99LatencyMs ?? null,
        scoreScale: found?.report?.scoreStd ?? null,
      };
    },
    now,
    report,
  });
  const references = createReferences({ store, readBlob: (digest) => readFile(blobs.path(digest)) });
  const driftWatch = createDriftWatch({
    store,
    references,
    matching,
    changed: (verdict, assets) => feed.cohortDrift(verdict, assets),
    now,
    report,
  });
  const { create, order } = createRolloutOrders({
    store,
    scheduler,
    matching,
    incompatible,
    findVersion: (model, version) => store.registry.find({ model, reference: version }),
    reach: (version) => registry.reach(version),
    newId: () => `r-${randomBytes(8).toString("hex")}`,
    now,
  });
  const orders: RolloutOrders = {
    create,
    async order(id, ordered) {
      const answer = await order(id, ordered);
      // What was ordered begins now, not at the next look.
      void scheduler.tick();
      return answer;
    },
  };
  const sendCarried = async (device: string, site: string) => {
    const topic = deviceTopic(site, device).down("baseline");
    for (const { body, ...carried } of await store.devices.carriedBaselines({ device })) {
      const message: CarriedBaseline = { v: 1, ...carried, baseline: JSON.parse(body) };
      theBroker().toDevice(device, topic, Buffer.from(JSON.stringify(message)));
    }
  };
  const listening = await onPort(options.mqttPort, () =>
    startBroker({
      port: options.mqttPort,
      ...(options.listen ? { host: options.listen.host } : {}),
      ...(secured ? { tls: secured.context } : {}),
      ...(certificates?.value.required ? { refusal: certificateRefusal(certificates.value, store, now) } : {}),
      limits: settings.broker,
      login,
      devices: store.devices,
      onMessage: (sender, kind, payload) => ingest.offer(sender, kind, payload),
      onDeviceListening: (device, site) => {
        director.resend(device).catch((cause) => report("director", cause));
        sendCarried(device, site).catch((cause) => report("baselines", cause));
      },
      onSubscription: (subscription) => feed.welcome(subscription),
      report,
    }),
  );
  if (!listening.ok) return listening;
  broker = listening.value;
  closers.push(() => theBroker().close());
  const name = urlHost(secured?.names[0] ?? "127.0.0.1");
  const mqttUrl = `${secured ? "mqtts" : "mqtt"}://${name}:${broker.port}`;

  const histories = createHistories({
    store: store.training,
    spawner: options.spawner,
    dir,
    bytesMax: settings.historyBytesMax,
    now,
  });
  const snapshots = createFleetSnapshots({
    store,
    dir: histories.dir,
    bytesMax: settings.historyBytesMax,
    matching,
    now,
  });
  const register = async ({ manifest, files }: BuiltPackage, by: string): Promise<Result<TrainedVersion>> => {
    const added = await registry.add({ manifest, files, by });
    if (!added.ok) return added;
    const { model, version, manifestDigest } = added.value;
    return ok({ model, version, manifestDigest });
  };
  const training = createTrainingRuns({
    store: store.training,
    spawner: options.spawner,
    dir: histories.dir,
    register,
    newId: () => `t-${randomBytes(8).toString("hex")}`,
    now,
    report,
  });
  const retrainings = createRetrainings({
    store,
    spawner: options.spawner,
    dir: histories.dir,
    snapshots,
    orders,
    matching,
    register,
    release: (args) => registry.releaseForCohort(args),
    newId: () => `rt-${randomBytes(8).toString("hex")}`,
    now,
    report,
  });
  const lineage = createLineage({
    store,
    releasedFor: (model, version) => {
      const found = repository.releases().find((one) => one.model === model && one.version === version);
      return found?.cohort === undefined ? undefined : { cohort: found.cohort, by: found.by ?? "" };
    },
    publishedBy: (model, version) => repository.approval(model, version),
  });
  const upkeep = startUpkeep({
    store,
    days: settings.retentionDays,
    ingestWaiting: () => ingest.counts().waiting,
    now,
    report,
  });
  closers.push(() => upkeep.stop());
  closers.push(
    watchYoungGeneration({ waiting: () => ingest.counts().waiting + documents.count(), share: loopShares() }),
  );
  addStoreMetrics(metrics, { store, deleted: () => upkeep.deleted() });
  addFleetMetrics(metrics, {
    store,
    rule: settings.presence,
    ingest: () => ingest.counts(),
    broker: () => theBroker().counts(),
    feed,
    expiries: () => expiries.expiries(),
    now,
  });
  const restored = await readReport(dir);
  const deps: RouteDeps = {
    server: { version: options.version, ready: () => readiness(store) },
    metrics: { metrics },
    tokens: { store, tokens },
    audit: { store },
    enrolment: {
      store,
      login,
      certificates: certificates?.value,
      timeKey: () => repository.directorKey,
      mqttUrl: () => mqttUrl,
      rootMetadata: () => repository.rootMetadata(),
      kick: (device) => theBroker().kick("device", device),
    },
    devices: {
      store,
      rule: settings.presence,
      kick: (device) => theBroker().kick("device", device),
      inherit: (from, device) => director.inherit(from, device),
      document: (device) => director.newest(device),
      quotaOf: (device) => theBroker().quotaOf(device),
    },
    samples: { store },
    series: { store },
    recovery: { store, restored },
    subscribers: { store, kick: (account) => theBroker().kick("subscriber", account) },
    repository: { repository, expiries },
    histories: { store, histories, snapshots },
    training: { store, runs: training },
    retraining: { store, retrainings, now },
    models: { store, registry, blobs },
    delegations: { registry, repository },
    releases: { store, registry },
    drift: { store, references },
    outcomes: { store, now },
    lineage: { lineage },
    performance: { store, performance: createPerformance({ store, now }) },
    rollouts: { store, orders },
  };
  const app = await buildApp({
    routes: allRoutes(deps),
    authenticate: async (token, nowMs): Promise<Caller | undefined> => {
      const device = await login.authenticate(token);
      if (device) return { kind: "device", device: device.device, site: device.site };
      return tokens.authenticate(token, nowMs);
    },
    audit: journaled(await createAudit(store.governance), {
      append: (entry) => appendToJournal(journalBeside(dir, settings.journalDir), entry),
      nameOf: callerName,
      report,
    }),
    idempotency: createIdempotency(store.governance),
    report,
    observe: addHttpMetrics(metrics),
    ...(secured ? { tls: secured.current(), requestCert: certificates?.value.required ?? false } : {}),
  });
  closers.push(() => app.close());
  app.server.on("upgrade", (request, socket, head) => theBroker().upgrade(request, socket, head));
  secured?.onRenewed((renewed) => {
    // Open sessions go on with the certificate they began with.
    if (app.server instanceof SecureServer) app.server.setSecureContext(secureOptions(renewed));
    log("info", "the server's certificate was renewed");
  });
  const host = options.listen?.host ?? "127.0.0.1";
  const { backlog } = BROKER_LIMITS;
  const serving = await onPort(options.port, () => app.listen({ host, port: options.port, backlog }));
  if (!serving.ok) return serving;
  // Before the API closes: an upload that waits for its validation is given up, not waited for.
  closers.push(() => registry.stop());
  await registry.start();
  await expiries.start();
  scheduler.start(settings.rolloutTickMs);
  closers.push(() => scheduler.stop());
  await driftWatch.start(settings.driftTickMs);
  closers.push(() => driftWatch.stop());
  await training.open();
  closers.push(() => training.close());
  retrainings.open(settings.retrainingTickMs);
  closers.push(() => retrainings.close());
  return ok({
    url: `${secured ? "https" : "http"}://${name}:${(app.server.address() as AddressInfo).port}`,
    mqttUrl,
    caFingerprint: secured?.caFingerprint,
    madeCa: secured?.madeCa ?? false,
    reload: async () => await secured?.renewIfDue(),
    tokenFile,
    developmentKeys: repository.development,
    close: () => closeAll(closers),
  });
}

/** Counts calls that have not ended. */
function underWay() {
  let count = 0;
  return {
    count: () => count,
    async during<T>(call: () => Promise<T>): Promise<T> {
      count++;
      try {
        return await call();
      } finally {
        count--;
      }
    },
  };
}

/** Judges the certificate of a device's connection; a refusal goes into the audit log, once an hour for each device. */
function certificateRefusal(certificates: DeviceCertificates, store: Store, now: () => number) {
  const notedAtMs = new Map<string, number>();
  return async (connection: unknown, name: string): Promise<string | undefined> => {
    const device = await store.devices.get({ device: name });
    const reason = device ? certificates.refusal(connection, device) : "there is no such device";
    if (reason === undefined || now() - (notedAtMs.get(name) ?? Number.NEGATIVE_INFINITY) < 3_600_000) return reason;
    notedAtMs.set(name, now());
    const { code, message: text } = problem("CLIENT_CERTIFICATE_REFUSED", { device: name, reason });
    await store.devices.noteSecurity({ device: name, code, text, nowMs: now(), reference: "login" });
    return reason;
  };
}

/** The certificate of a server that listens beyond loopback; undefined for one that does not. */
async function openTls(
  { dir, listen }: ServerOptions,
  now: () => number,
  report: (problem: string, detail: unknown) => void,
): Promise<Result<ServerTls> | undefined> {
  if (!listen) return undefined;
  const { host, names, own } = listen;
  return await openServerTls({
    dir: join(dir, "tls"),
    names: namesOf(host, names),
    ...(own ? { own } : {}),
    now,
    report,
  });
}

/** A host as a URL writes it. */
function urlHost(name: string): string {
  return name.includes(":") ? `[${name}]` : name;
}

/** Listens; a port that is taken, or not ours to take, is the caller's mistake and not a fault of the program. */
async function onPort<T>(port: number, listen: () => Promise<T>): Promise<Result<T>> {
  try {
    return ok(await listen());
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code === "EADDRINUSE") return err("PORT_UNAVAILABLE", { port, reason: "another program listens on it" });
    if (code === "EADDRNOTAVAIL") return err("PORT_UNAVAILABLE", { port, reason: "this machine has no such address" });
    if (code === "EACCES") return err("PORT_UNAVAILABLE", { port, reason: "this user may not listen on it" });
    throw cause;
  }
}

/** Ready means: both kinds of store threads answer, in time. The broker listens before the REST API does. */
async function readiness(store: Store): Promise<Result<undefined>> {
  const late = new Promise<"late">((resolve) => setTimeout(resolve, READY_WITHIN_MS, "late").unref());
  const answered = Promise.all([store.governance.lastEntry({}), store.devices.seen({ at: [] })]).then(
    () => "ready" as const,
    () => "closed" as const,
  );
  const found = await Promise.race([answered, late]);
  return found === "ready" ? ok(undefined) : err("UNAVAILABLE", { reason: `the store is ${found}` });
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
