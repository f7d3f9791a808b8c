import { type Problem, problem } from "@bellwether/protocol/errors.ts";
import type { RoleSpawner } from "@bellwether/protocol/process/roles.io.ts";
import { err, ok, type Result } from "@bellwether/protocol/result.ts";
import type { RolloutOrders } from "../rollouts/orders.io.ts";
import type { RolloutRequest } from "../rollouts/plan.ts";
import type { VersionRecord } from "../store/registry.ts";
import type { Store } from "../store/store.ts";
import type { TrainedVersion, TrainingRun } from "../store/training.ts";
import type { FleetSnapshots } from "./fleet-snapshots.io.ts";
import { LABELLED_ASSETS_MIN, type Retraining, type RetrainingChange, type RetrainingPolicy } from "./job.ts";
import type { BuiltPackage } from "./package.ts";
import { calledOf, labelledSince, startOf } from "./policy.ts";
import type { Retrained, RetrainOrder } from "./retrain.ts";
import type { RetrainReply } from "./retrain.worker.ts";

export interface RetrainingsPorts {
  readonly store: Store;
  readonly spawner: RoleSpawner<"retrain">;
  /** Folder of the history files. */
  readonly dir: string;
  readonly snapshots: FleetSnapshots;
  readonly orders: RolloutOrders;
  /** Active devices that a selector selects. */
  matching(selector: string): Promise<Result<readonly string[]>>;
  /** Makes a version of a package. */
  register(built: BuiltPackage, by: string): Promise<Result<TrainedVersion>>;
  /** Releases a version by the retraining role of this model and cohort, which no other device takes. */
  release(args: {
    readonly model: string;
    readonly version: number;
    readonly cohort: string;
    readonly by: string;
  }): Promise<Result<VersionRecord>>;
  newId(): string;
  now(): number;
  report(problem: string, detail: unknown): void;
}

/** What a person may ask a retraining for. */
export interface RetrainingRequest {
  readonly model: string;
  readonly cohort: string;
  readonly mode?: "propose" | "auto";
  readonly holdoutAssets?: readonly string[];
  readonly sinceMs?: number;
  readonly cutOffMs?: number;
  readonly rollout?: RetrainingPolicy["rollout"];
}

/** Retrainings of models for cohorts. */
export interface Retrainings {
  start(request: RetrainingRequest, by: string): Promise<Result<Retraining>>;
  /** Lets a proposed one be released, or not. */
  decide(id: string, decision: "approve" | "reject", by: string): Promise<Result<Retraining>>;
  /** What its thread says now. */
  progress(id: string): { readonly done: number; readonly step: string } | undefined;
  open(everyMs: number): void;
  close(): Promise<void>;
}

const OUTCOMES_MAX = 1_000_000;
const HISTORY_MAX = 100;
const JOBS_AT_ONCE = 100;
const ROLLED_OUT = new Set(["finished"]);
const NOT_ROLLED_OUT = new Set(["reverted", "stopped"]);

/** The runner of retrainings: everything it does next follows from what is kept, so a restart only begins a step again. */
export function createRetrainings(ports: RetrainingsPorts): Retrainings {
  const { store, now } = ports;
  const live = new Map<string, { done: number; step: string }>();
  let timer: NodeJS.Timeout | undefined;
  let turn = Promise.resolve();
  let idle = true;
  let worker: ReturnType<RoleSpawner<"retrain">["worker"]> | undefined;

  /** What each open phase waits for, and what it becomes. */
  const NEXT: Readonly<Partial<Record<Retraining["phase"], (job: Retraining) => Promise<void>>>> = {
    requested: takeSnapshot,
    training: train,
    releasing: release,
    rollingOut: follow,
  };

  async function move(job: Retraining, change: RetrainingChange): Promise<void> {
    const moved = await store.retraining.move({ id: job.id, from: job.phase, change, nowMs: now() });
    if (!moved.ok) ports.report("retraining", moved.error);
  }
  const fail = (job: Retraining, error: Problem) => move(job, { phase: "failed", error });

  async function takeSnapshot(job: Retraining): Promise<void> {
    const { model, cohort, cutOffMs, knownAtMs, champion } = job;
    const run = await runOf(champion.run);
    const history = run && (await store.training.findHistory({ name: run.history }));
    if (!history) return fail(job, problem("RETRAINING_CHAMPION_DIFFERS", { run: job.id }));
    const channels = history.report.channels.map(({ channel, unit }) => ({ channel, unit }));
    const version = String(champion.version);
    const made = await ports.snapshots.create({ cohort, model, version, cutOffMs, knownAtMs, channels }, job.createdBy);
    if (!made.ok) return fail(job, made.error);
    await move(job, { phase: "training", history: made.value.id });
  }

  const runOf = (id: string): Promise<TrainingRun | undefined> => store.training.getRun({ id });

  async function train(job: Retraining): Promise<void> {
    const order = await orderOf(job);
    if (!order.ok) return fail(job, order.error);
    const retrained = await inThread(order.value);
    live.delete(job.id);
    if (retrained === "closed") return;
    if (!retrained.ok) return fail(job, retrained.error);
    const { result, package: built } = retrained.value;
    if (built === undefined) return move(job, { phase: "rejected", result });
    const version = await ports.register(built, job.createdBy);
    if (!version.ok) return fail(job, version.error);
    const made = { result, version: version.value.version, digest: version.value.manifestDigest };
    if (job.mode === "propose") return move(job, { ...made, phase: "proposed" });
    await move(job, { ...made, phase: "releasing", approvedBy: `policy:${job.createdBy}` });
  }

  async function orderOf(job: Retraining): Promise<Result<RetrainOrder>> {
    const run = await runOf(job.champion.run);
    const base = run && (await store.training.findHistory({ name: run.history }));
    const fleet = await store.training.findHistory({ name: job.history ?? "" });
    const version = await store.registry.findDigest({ model: job.model, digest: job.champion.digest });
    if (!run || !base || !fleet || !version) return err("RETRAINING_CHAMPION_DIFFERS", { run: job.id });
    return ok({
      id: job.id,
      request: run.request,
      base: base.snapshot,
      fleet: fleet.snapshot,
      championModel: version.manifest.files.model.digest,
      champion: job.champion.digest,
      holdoutAssets: job.holdoutAssets,
      sinceMs: job.sinceMs,
      cohorts: await assetsByCohort(),
    });
  }

  async function assetsByCohort(): Promise<Record<string, string[]>> {
    const members: Record<string, string[]> = {};
    for (const { cohort, selector } of await store.devices.listCohorts({})) {
      const devices = await ports.matching(selector);
      if (!devices.ok) continue;
      const births = await Promise.all(devices.value.map((device) => store.devices.births({ device })));
      members[cohort] = births.flat().map(({ asset }) => asset);
    }
    return members;
  }

  function inThread(order: RetrainOrder): Promise<Result<Retrained> | "closed"> {
    const mine = ports.spawner.worker("retrain", { order, dir: ports.dir });
    worker = mine;
    return new Promise<Result<Retrained> | "closed">((resolve) => {
      mine.on("message", (reply: RetrainReply) => {
        if (reply.kind === "retrained") return resolve(ok(reply.retrained));
        if (reply.kind === "refused") return resolve({ ok: false, error: reply.problem });
        live.set(order.id, { done: reply.done, step: reply.step });
      });
      const gone = (reason: string) => resolve(err("TRAINING_FAILED", { run: order.id, reason }));
      mine.once("error", (cause) => gone((cause as Error).message));
      mine.once("exit", () => (timer === undefined ? resolve("closed") : gone("its thread ended without a result")));
    }).finally(async () => {
      worker = undefined;
      await mine.terminate();
    });
  }

  async function release(job: Retraining): Promise<void> {
    const { model, cohort, version } = job;
    const found = (await store.devices.listCohorts({})).find((one) => one.cohort === cohort);
    if (found === undefined || version === null) {
      return fail(job, problem("NOT_FOUND", { what: "cohort", name: cohort }));
    }
    const kept = await store.registry.find({ model, reference: String(version) });
    if (kept?.phase !== "released") {
      const released = await ports.release({ model, version, cohort, by: job.approvedBy ?? job.createdBy });
      if (!released.ok) return fail(job, released.error);
    }
    const request = {
      ...job.rollout,
      model,
      version: String(version),
      target: { selector: found.selector },
    } as RolloutRequest;
    const rollout = await ports.orders.create(request, job.approvedBy ?? job.createdBy);
    if (!rollout.ok) return fail(job, rollout.error);
    const started = await ports.orders.order(rollout.value.id, "start");
    if (!started.ok) return fail(job, started.error);
    await move(job, { phase: "rollingOut", rolloutId: rollout.value.id });
  }

  async function follow(job: Retraining): Promise<void> {
    const rollout = await store.rollouts.get({ id: job.rolloutId ?? "" });
    const phase = rollout?.state.phase ?? "stopped";
    if (ROLLED_OUT.has(phase)) return move(job, { phase: "released" });
    if (!NOT_ROLLED_OUT.has(phase)) return;
    await fail(job, problem("RETRAINING_NOT_ROLLED_OUT", { rollout: job.rolloutId, phase }));
  }

  async function applyPolicies(): Promise<void> {
    for (const policy of await store.retraining.policies({})) {
      const { model, cohort, mode, holdoutAssets, rollout } = policy;
      const [last] = await store.retraining.list({ model, cohort, limit: 1 });
      const [open] = await store.retraining.list({ model, cohort, open: true, limit: 1 });
      const verdicts = await store.drift.verdicts({ model, cohort });
      const history = await store.drift.history({ cohort, model, limit: HISTORY_MAX });
      const outcomes = await outcomesOf(cohort);
      const start = startOf({ policy, verdicts, history, outcomes, last, lastIsOpen: open !== undefined });
      if (start === undefined) continue;
      const begun = await begin({ model, cohort, mode, holdoutAssets, rollout, ...start }, "drift", policy.updatedBy);
      if (!begun.ok) ports.report("retraining", begun.error);
    }
  }

  async function devicesOf(cohort: string): Promise<readonly string[]> {
    const found = (await store.devices.listCohorts({})).find((one) => one.cohort === cohort);
    const devices = found && (await ports.matching(found.selector));
    return devices?.ok ? devices.value : [];
  }
  const outcomesOf = async (cohort: string) =>
    store.outcomes.list({ devices: await devicesOf(cohort), limit: OUTCOMES_MAX });

  /** The version that most of the cohort's devices run. */
  async function championOf(model: string, cohort: string): Promise<VersionRecord | undefined> {
    const counts = new Map<string, number>();
    for (const device of await devicesOf(cohort)) {
      const { models } = await store.devices.reportedModels({ device });
      const digest = models.find((one) => one.model === model)?.active?.digest;
      if (digest !== undefined) counts.set(digest, (counts.get(digest) ?? 0) + 1);
    }
    const [most] = [...counts].toSorted(([, a], [, b]) => b - a);
    return most && store.registry.findDigest({ model, digest: most[0] });
  }

  async function begin(
    request: RetrainingRequest & { labelledAssets: number },
    trigger: Retraining["trigger"],
    by: string,
  ): Promise<Result<Retraining>> {
    const { model, cohort } = request;
    const champion = await championOf(model, cohort);
    if (champion === undefined) return err("RETRAINING_CHAMPION_UNKNOWN", { model, cohort });
    const nowMs = now();
    return store.retraining.add({
      retraining: {
        id: ports.newId(),
        model,
        cohort,
        mode: request.mode ?? "propose",
        holdoutAssets: [...(request.holdoutAssets ?? [])],
        rollout: request.rollout ?? {},
        trigger,
        phase: "requested",
        sinceMs: request.sinceMs ?? null,
        cutOffMs: request.cutOffMs ?? nowMs,
        knownAtMs: nowMs,
        labelledAssets: request.labelledAssets,
        champion: {
          version: champion.version,
          digest: champion.manifestDigest,
          run: champion.manifest.lineage?.run ?? "",
        },
        history: null,
        result: null,
        version: null,
        digest: null,
        approvedBy: null,
        rolloutId: null,
        error: null,
        createdAtMs: nowMs,
        createdBy: by,
        updatedAtMs: nowMs,
      },
    });
  }

  async function work(): Promise<void> {
    await applyPolicies();
    for (const job of await store.retraining.list({ open: true, limit: JOBS_AT_ONCE })) {
      // One that cannot go on must not keep the others from it.
      await NEXT[job.phase]?.(job).catch((cause) => ports.report(`retraining ${job.id}`, cause));
    }
  }

  return {
    async start(request, by) {
      const outcomes = await outcomesOf(request.cohort);
      const verdicts = await store.drift.verdicts({ model: request.model, cohort: request.cohort });
      const { cohort, model } = request;
      const drifted = calledOf(verdicts, await store.drift.history({ cohort, model, limit: HISTORY_MAX }));
      const sinceMs = request.sinceMs ?? drifted?.sinceMs ?? undefined;
      const labelledAssets = labelledSince(outcomes, sinceMs ?? 0, request.holdoutAssets ?? []);
      if (labelledAssets < LABELLED_ASSETS_MIN) {
        return err("RETRAINING_ASSETS_TOO_FEW", { actual: labelledAssets, needed: LABELLED_ASSETS_MIN });
      }
      return begin({ ...request, labelledAssets, ...(sinceMs === undefined ? {} : { sinceMs }) }, "asked", by);
    },
    decide: (id, decision, by) =>
      store.retraining.move({
        id,
        from: "proposed",
        change: { phase: decision === "approve" ? "releasing" : "rejected", approvedBy: by },
        nowMs: now(),
      }),
    progress: (id) => live.get(id),
    open(everyMs) {
      timer = setInterval(() => {
        if (!idle) return;
        idle = false;
        turn = work()
          .catch((cause) => ports.report("retraining", cause))
          .finally(() => {
            idle = true;
          });
      }, everyMs);
    },
    async close() {
      clearInterval(timer);
      timer = undefined;
      await worker?.terminate();
      await turn;
    },
  };
}
