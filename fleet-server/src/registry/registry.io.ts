import { isName } from "@bellwether/protocol/ids.ts";
import { checkManifest, digestOf, manifestBytes } from "@bellwether/protocol/package/check.ts";
import type { BlobReference, Manifest } from "@bellwether/protocol/package/manifest.ts";
import { err, ok, type Result } from "@bellwether/protocol/result.ts";
import type { ModelRecord, RegistryStore, VersionRecord } from "../store/registry.ts";
import type { Upload } from "./acceptance.ts";
import type { BlobStore } from "./blobs.io.ts";
import { createLine } from "./line.io.ts";
import type { Release } from "./metadata.ts";
import type { ReleaseRequest } from "./release-request.ts";
import type { ReleaseRepository, RetrainingView, WantedChange } from "./repository.io.ts";
import type { Publication, RoleName } from "./repository-state.ts";
import type { Sandbox } from "./sandbox.io.ts";
import { createUnheard } from "./unheard.io.ts";

/** A manifest whose version the registry may choose. */
export type ManifestDraft = Omit<Manifest, "version"> & { readonly version?: number };

export interface RegistryPorts {
  readonly store: { readonly registry: RegistryStore };
  readonly blobs: BlobStore;
  readonly sandbox: Pick<Sandbox, "validate">;
  readonly repository: Pick<
    ReleaseRepository,
    "request" | "publish" | "releaseDelegated" | "block" | "blocked" | "releases" | "retraining"
  >;
  now(): number;
  /** Told what goes wrong in the background. */
  report(problem: string, detail: unknown): void;
}

/** What somebody wants to have released, or changed about what retraining may release. */
export type ReleaseOrder =
  | { readonly change: "release"; readonly model: string; readonly version: number }
  | Exclude<WantedChange, { readonly change: "release" }>;

/** Who publishes; only an administrator may change what retraining may release, or the root. */
export interface Publisher {
  readonly by: string;
  readonly admin: boolean;
}

/** Models, their versions, and which of them devices may run. */
export interface Registry {
  /**
   * Keeps a new version, whose blobs must be there already, and validates it in the sandbox. A refusal is answered with
   * the sandbox's code; the version stays readable as `invalid` until its number is used again. `VALIDATION_BUSY` where
   * others are before it for too long, nothing is kept then; and where the machine gives the sandbox so little of its
   * processor that it is not done: it goes on, and the same upload by the same person has its outcome.
   */
  upload(args: { readonly manifest: ManifestDraft; readonly by: string }): Promise<Result<VersionRecord>>;
  /** For programs inside the server: the same, with the files at hand; they wait for their turn however long it takes. */
  add(args: {
    readonly manifest: Omit<ManifestDraft, "files">;
    readonly files: Readonly<Record<"model" | "golden" | "reference", Uint8Array>> & { readonly card?: Uint8Array };
    readonly by: string;
  }): Promise<Result<VersionRecord>>;
  /**
   * What the owners of the offline keys have to sign to release valid versions or to change what retraining may release.
   * Withdrawals that still wait for a signature are asked for as well.
   */
  request(orders: readonly ReleaseOrder[]): Promise<Result<ReleaseRequest>>;
  /** Publishes what they signed: from now on devices accept what was released so, and nothing that was withdrawn. */
  publish(upload: Upload, publisher: Publisher): Promise<Result<Publication>>;
  /**
   * For automatic retraining: releases a valid version by the retraining role of its model and this cohort. The role's
   * online key alone signs, so no device outside the cohort takes it. `RETRAINING_ROLE_UNKNOWN` or `…_OFF` where the
   * owners do not let that role release; `by` is kept with the release. A program inside the server that calls it
   * enters itself in the audit log; callers of the API stand there already.
   */
  releaseForCohort(args: {
    readonly model: string;
    readonly version: number;
    readonly cohort: string;
    readonly by: string;
  }): Promise<Result<VersionRecord>>;
  /** Whom a released version is for: the retraining role's scope, or undefined for everybody. */
  reach(args: { readonly model: string; readonly version: number }): Result<RetrainingView | undefined>;
  /**
   * Takes a version back for good: no rollout may name it and no device is directed to it from now on. What was released
   * stands in the targets until the owners sign the next request; then devices refuse it whoever asks.
   */
  withdraw(args: { readonly model: string; readonly version: number }): Promise<Result<VersionRecord>>;
  setAlias(args: {
    readonly model: string;
    readonly alias: string;
    readonly version: number;
  }): Promise<Result<ModelRecord>>;
  /** Goes on with what a stop or a crash interrupted; resolves when everything is under way. */
  start(): Promise<void>;
  /** Gives up validations under way; they begin anew at the next start. */
  stop(): Promise<void>;
}

/** Validations that may wait: one runs at a time, a child may take a whole core. */
const WAITING_MAX = 8;
const WAIT_MS = 7_000;
/** Every client has an answer within half a minute: what there is to say by then, or when to come back. */
const ANSWER_MS = 25_000;
const RETRY_AFTER_SECONDS_MIN = 10;
const RETRY_AFTER_SECONDS_MAX = 60;
/** Tries of what the server itself brings in, each as long as the sandbox may take. */
const ADD_TRIES_MAX = 3;
/** Blobs that no version names are removed after a day: an upload that was given up. */
const ORPHAN_MS = 86_400_000;
const SWEEP_EVERY_MS = 3_600_000;

/** The registry over its ports; call `start` once. An upload is answered after `answerMs`, whatever it waits for. */
export function createRegistry(ports: RegistryPorts, { answerMs = ANSWER_MS } = {}): Registry {
  const { blobs, sandbox, repository } = ports;
  const store = ports.store.registry;
  const stopping = new AbortController();
  const line = createLine(WAITING_MAX);
  const unheard = createUnheard<Result<VersionRecord> | undefined>(ports.now);
  /** When the validation that runs, or ran last, began. */
  let validatingSinceMs = 0;
  let numbering: Promise<unknown> = Promise.resolve();
  let sweeper: NodeJS.Timeout | undefined;

  /** Two uploads at once must not get the same number. */
  function inTurn<T>(run: () => Promise<T>): Promise<T> {
    const result = numbering.then(run);
    numbering = result.catch(() => undefined);
    return result;
  }

  async function keep(draft: ManifestDraft, by: string): Promise<Result<VersionRecord>> {
    const version = draft.version ?? (await store.nextVersion({ model: draft.model }));
    const manifest: Manifest = { ...draft, version };
    const checked = checkManifest(manifest);
    if (!checked.ok) return checked;
    const missing = await missingBlob(blobs, manifest.files);
    if (missing) return missing;
    const bytes = manifestBytes(manifest);
    const manifestDigest = digestOf(bytes);
    const stored = await blobs.put(manifestDigest, one(bytes));
    if (!stored.ok) return stored;
    const facts = { model: draft.model, version, manifestDigest, manifestLength: bytes.length };
    return store.add({ version: { ...facts, manifest, createdAtMs: ports.now(), createdBy: by } });
  }

  async function validate({ model, version, manifest, manifestDigest }: VersionRecord): Promise<Result<VersionRecord>> {
    const { files } = manifest;
    validatingSinceMs = ports.now();
    const report = await sandbox.validate(
      {
        manifest: blobs.path(manifestDigest),
        model: blobs.path(files.model.digest),
        golden: blobs.path(files.golden.digest),
        reference: blobs.path(files.reference.digest),
      },
      stopping.signal,
    );
    // A server that stops says nothing about the model: the version stays "validating" and is tried at the next start.
    if (stopping.signal.aborted) return err("UNAVAILABLE", { reason: "the server is stopping" });
    const name = { model, version, from: ["validating"] as const, nowMs: ports.now() };
    if (report.ok) return store.move({ ...name, to: "valid", report: report.value });
    await store.move({ ...name, to: "invalid", problem: report.error });
    return report.error.code === "CHILD_STARVED" ? busy() : report;
  }

  /** As long again as the validation under way has run so far: sooner it is hardly done. */
  function busy(): ReturnType<typeof err> {
    const seconds = Math.ceil((ports.now() - validatingSinceMs) / 1_000);
    const retryAfterSeconds = Math.min(Math.max(seconds, RETRY_AFTER_SECONDS_MIN), RETRY_AFTER_SECONDS_MAX);
    return err("VALIDATION_BUSY", { retryAfterSeconds });
  }

  async function upload(manifest: ManifestDraft, by: string): Promise<Result<VersionRecord>> {
    if (stopping.signal.aborted) return err("UNAVAILABLE", { reason: "the server is stopping" });
    const kept = await inTurn(() => keep(manifest, by));
    return kept.ok ? validate(kept.value) : kept;
  }

  async function releasable(model: string, version: number): Promise<Result<VersionRecord>> {
    const found = await store.find({ model, reference: String(version) });
    if (!found) return err("NOT_FOUND", { what: "model version", name: `${model} ${version}` });
    if (found.phase === "released" || found.phase === "valid") return ok(found);
    const name = `${model} ${version}`;
    return err("CONFLICT", { what: "The model version", name, reason: `it is ${found.phase}` });
  }

  const retrained = (model: string, version: number): RetrainingView | undefined =>
    repository
      .retraining()
      .find((role) => role.model === model && role.versions.some((one) => one.version === version));

  async function request(orders: readonly ReleaseOrder[]): Promise<Result<ReleaseRequest>> {
    const wanted: WantedChange[] = [];
    for (const order of orders) {
      if (order.change !== "release") {
        wanted.push(order);
        continue;
      }
      const { model, version } = order;
      const found = await releasable(model, version);
      if (!found.ok) return found;
      // What a cohort has already is signed once more, for everybody.
      if (found.value.phase === "released" && !retrained(model, version)) continue;
      const { manifestDigest, manifestLength } = found.value;
      wanted.push({ change: "release", model, version, manifestDigest, manifestLength });
    }
    return repository.request(wanted);
  }

  /** The keys are the owners', but what they sign must be what was validated here: they may have been shown anything. */
  async function fits({ released }: Publication): Promise<Result<void>> {
    for (const { model, version, manifestDigest, manifestLength } of released) {
      const found = await releasable(model, version);
      if (!found.ok) return found;
      if (found.value.manifestDigest !== manifestDigest || found.value.manifestLength !== manifestLength)
        return err("TARGETS_INCONSISTENT", { reason: `${model} ${version} is another manifest here` });
    }
    return ok(undefined);
  }

  async function publish(upload: Upload, { by, admin }: Publisher): Promise<Result<Publication>> {
    const done = await repository.publish(upload, by, async (publication) => {
      const allowed = admin || (!publication.delegates && upload.roots.length === 0);
      return allowed ? fits(publication) : err("FORBIDDEN", { role: "admin" });
    });
    if (!done.ok) return done;
    for (const release of done.value.released) await markReleased(release);
    for (const release of done.value.withdrawn) await markWithdrawn(release);
    return done;
  }

  async function releaseForCohort(args: RoleName & { version: number; by: string }): Promise<Result<VersionRecord>> {
    const { model, version, cohort, by } = args;
    const found = await releasable(model, version);
    if (!found.ok) return found;
    const { manifestDigest, manifestLength } = found.value;
    const released = await repository.releaseDelegated({ model, version, cohort, by, manifestDigest, manifestLength });
    return released.ok ? markReleased(released.value) : released;
  }

  function markReleased({ model, version, releaseCounter }: Release): Promise<Result<VersionRecord>> {
    return store.move({
      model,
      version,
      from: ["valid", "released"],
      to: "released",
      releaseCounter,
      nowMs: ports.now(),
    });
  }

  function markWithdrawn({ model, version }: Pick<Release, "model" | "version">): Promise<Result<VersionRecord>> {
    return store.move({ model, version, from: ["valid", "released"], to: "withdrawn", nowMs: ports.now() });
  }

  return {
    async upload({ manifest, by }) {
      const begin = () => line.run(() => upload(manifest, by), WAIT_MS);
      return (await unheard.outcome(JSON.stringify([by, manifest]), begin, answerMs)) ?? busy();
    },
    async add({ manifest, files, by }) {
      const named: Record<string, BlobReference> = {};
      for (const [file, bytes] of Object.entries(files)) {
        const digest = digestOf(bytes);
        const stored = await blobs.put(digest, one(bytes));
        if (!stored.ok) return stored;
        named[file] = { digest, length: bytes.byteLength };
      }
      const draft = { ...manifest, files: named as Manifest["files"] };
      // Nobody waits for the answer, and what was learnt for hours is not given up for a busy minute.
      for (let tries = 1; ; tries++) {
        const done = (await line.run(() => upload(draft, by)))!;
        if (done.ok || done.error.code !== "VALIDATION_BUSY" || tries === ADD_TRIES_MAX) return done;
      }
    },
    request: (orders) => inTurn(() => request(orders)),
    publish: (upload, publisher) => inTurn(() => publish(upload, publisher)),
    releaseForCohort: (args) => inTurn(() => releaseForCohort(args)),
    reach({ model, version }) {
      const role = retrained(model, version);
      return role?.enabled === false ? err("RETRAINING_ROLE_OFF", { model, cohort: role.cohort }) : ok(role);
    },
    withdraw: ({ model, version }) =>
      inTurn(async () => {
        // The repository first: a crash in between leaves a version that nobody is directed to.
        const accepted = repository.releases().some((one) => one.model === model && one.version === version);
        const known = accepted || retrained(model, version) !== undefined;
        const blocked = known ? await repository.block(model, version) : ok(undefined);
        return blocked.ok ? markWithdrawn({ model, version }) : blocked;
      }),
    async setAlias({ model, alias, version }) {
      if (/^\d+$/.test(alias) || !isName(alias)) return err("ALIAS_IS_NUMBER", { alias });
      const found = await store.find({ model, reference: String(version) });
      if (found && found.phase !== "valid" && found.phase !== "released") {
        const name = `${model} ${version}`;
        return err("CONFLICT", { what: "The model version", name, reason: `it is ${found.phase}` });
      }
      return store.setAlias({ model, alias, version, nowMs: ports.now() });
    },
    async start() {
      // What is in the signed targets is released, whatever the store had time to note.
      for (const known of repository.releases()) {
        const found = await store.find({ model: known.model, reference: String(known.version) });
        if (found?.phase === "valid") await markReleased(known);
      }
      for (const known of repository.blocked()) await markWithdrawn(known);
      for (const version of await store.inPhase({ phase: "validating" })) {
        void line
          .run(() => validate(version))
          .catch((cause: unknown) => ports.report(`validation of ${version.model} ${version.version}`, cause));
      }
      const sweep = async () => {
        const kept = new Set(await store.blobs({}));
        await blobs.removeExcept(kept, ports.now() - ORPHAN_MS);
      };
      sweeper = setInterval(() => {
        void inTurn(sweep).catch((cause: unknown) => ports.report("unused blobs", cause));
      }, SWEEP_EVERY_MS).unref();
    },
    async stop() {
      clearInterval(sweeper);
      stopping.abort();
      await numbering;
      await line.empty();
    },
  };
}

/** The first file of a package that is not there in its length. */
async function missingBlob(blobs: BlobStore, files: Manifest["files"]): Promise<ReturnType<typeof err> | undefined> {
  for (const [file, { digest, length }] of Object.entries(files)) {
    if ((await blobs.length(digest)) !== length) return err("BLOB_MISSING", { file, digest, length });
  }
  return undefined;
}

async function* one(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}
