import { once } from "node:events";
import type { Worker } from "node:worker_threads";
import { type Problem, problem } from "@bellwether/protocol/errors.ts";
import type { RoleSpawner } from "@bellwether/protocol/process/roles.io.ts";
import { err, ok, type Result } from "@bellwether/protocol/result.ts";
import type { TrainedVersion, TrainingRun, TrainingStore } from "../store/training.ts";
import type { TrainingProgress, TrainingRequest } from "./order.ts";
import type { BuiltPackage } from "./package.ts";
import { hasTarget } from "./targets.ts";
import type { TrainedModel } from "./train.ts";
import type { TrainReply, TrainThreadOptions } from "./train.worker.ts";

/** What training runs need of the rest of the server. */
export interface TrainingRunsPorts {
  readonly store: TrainingStore;
  readonly spawner: RoleSpawner<"train">;
  /** Folder of the history files. */
  readonly dir: string;
  /** Makes a model version of a package, as an upload of the same files by this caller would. */
  register(built: BuiltPackage, by: string): Promise<Result<TrainedVersion>>;
  newId(): string;
  now(): number;
  report(message: string, detail: unknown): void;
}

/** Training runs: one at a time, the others wait in order. */
export interface TrainingRuns {
  /** Queues a run; `TRAINING_QUEUE_FULL` beyond the bound, `TRAINING_TARGET_MISSING` where nothing could come of it. */
  start(request: TrainingRequest, createdBy: string): Promise<Result<TrainingRun>>;
  /** Ends a run that waits or is under way. */
  cancel(id: string): Promise<Result<TrainingRun>>;
  /** The run as it is now, with progress fresher than the store's. */
  get(id: string): Promise<TrainingRun | undefined>;
  /** The run at every change until it has ended or the signal is aborted. */
  follow(id: string, signal: AbortSignal): AsyncGenerator<TrainingRun>;
  /** Goes on with what waited when the server stopped; what was under way then ends as interrupted. */
  open(): Promise<void>;
  close(): Promise<void>;
}

const WAITING_MAX = 100;
/** A run longer than this is stuck or far too large for this machine. */
const RUN_LIMIT_MS = 6 * 3_600_000;
const ENDED: ReadonlySet<TrainingRun["phase"]> = new Set(["succeeded", "failed", "cancelled"]);

interface Current {
  readonly id: string;
  readonly worker: Worker;
  /** Set while the registry has the package: then it is too late to cancel. */
  registering: boolean;
  stopped: "cancelled" | "closing" | "late" | undefined;
}

/** The runner of training runs; call `open` before anything else. */
export function createTrainingRuns(ports: TrainingRunsPorts): TrainingRuns {
  const { store, now } = ports;
  const progress = new Map<string, TrainingProgress>();
  const changes = new EventTarget();
  let current: Current | undefined;
  let isOpen = false;
  let working: Promise<void> | undefined;

  const changed = () => changes.dispatchEvent(new Event("change"));
  const fresh = (run: TrainingRun | undefined) => {
    const live = run?.phase === "running" ? progress.get(run.id) : undefined;
    return run && live ? { ...run, progress: live } : run;
  };

  /** Works through the queue until it is empty. */
  async function work(): Promise<void> {
    while (isOpen) {
      const run = await store.nextQueued({});
      if (!run) return;
      await runOne(run);
      progress.delete(run.id);
      changed();
    }
  }
  function wake(): void {
    if (!isOpen || working) return;
    working = work()
      .catch((cause) => ports.report("training", cause))
      .finally(() => {
        working = undefined;
      });
  }

  async function runOne(run: TrainingRun): Promise<void> {
    const started = await store.changeRun({ id: run.id, change: { startedAtMs: now(), phase: "running" } });
    // Cancelled between the two looks at the store.
    if (started?.phase !== "running") return;
    changed();
    const history = await store.findHistory({ name: run.history });
    if (!history) return end(run.id, "failed", problem("NOT_FOUND", { what: "history", name: run.history }));
    const order = { run: run.id, request: run.request, snapshot: history.snapshot };
    const options: TrainThreadOptions = { order, dir: ports.dir };
    const mine: Current = {
      id: run.id,
      worker: ports.spawner.worker("train", options),
      registering: false,
      stopped: undefined,
    };
    current = mine;
    const late = setTimeout(() => void stop(mine, "late"), RUN_LIMIT_MS);
    try {
      const trained = await resultOf(mine);
      if (trained.ok) await register(mine, trained.value, run.createdBy);
      else if (mine.stopped === undefined) await end(run.id, "failed", trained.error);
      else if (mine.stopped === "late") {
        const reason = `it took longer than ${RUN_LIMIT_MS / 3_600_000} hours`;
        await end(run.id, "failed", problem("TRAINING_FAILED", { run: run.id, reason }));
      }
    } finally {
      clearTimeout(late);
      await mine.worker.terminate();
      current = undefined;
    }
  }

  /** The thread's one result, or why it has none. */
  function resultOf(mine: Current): Promise<Result<TrainedModel>> {
    return new Promise((resolve) => {
      mine.worker.on("message", (reply: TrainReply) => {
        if (reply.kind === "trained") return resolve(ok(reply.model));
        if (reply.kind === "refused") return resolve({ ok: false, error: reply.problem });
        progress.set(mine.id, reply.progress);
        changed();
      });
      const gone = (reason: string) => resolve(err("TRAINING_FAILED", { run: mine.id, reason }));
      mine.worker.once("error", (cause) => gone((cause as Error).message));
      mine.worker.once("exit", () => gone("its thread ended without a result"));
    });
  }

  async function register(mine: Current, { package: built, summary }: TrainedModel, by: string): Promise<void> {
    if (mine.stopped !== undefined) return;
    mine.registering = true;
    progress.set(mine.id, { step: "registering", done: 0.95 });
    changed();
    await store.changeRun({ id: mine.id, change: { summary } });
    const version = await ports.register(built, by);
    if (!version.ok) return end(mine.id, "failed", version.error);
    await store.changeRun({
      id: mine.id,
      change: { result: version.value, progress: null, endedAtMs: now(), phase: "succeeded" },
    });
  }

  async function end(id: string, phase: "failed" | "cancelled", error: Problem | null): Promise<void> {
    await store.changeRun({ id, change: { error, progress: progress.get(id) ?? null, endedAtMs: now(), phase } });
  }

  async function stop(mine: Current, why: NonNullable<Current["stopped"]>): Promise<void> {
    mine.stopped = why;
    await mine.worker.terminate();
  }

  return {
    async start(request, createdBy) {
      const history = await store.findHistory({ name: request.history });
      if (!history) return err("NOT_FOUND", { what: "history", name: request.history });
      const { failures, target } = history.report;
      const holds = hasTarget(request.history, { failures, target: target?.column }, request.target);
      if (!holds.ok) return holds;
      const run: TrainingRun = {
        id: ports.newId(),
        history: history.id,
        request,
        phase: "queued",
        progress: null,
        summary: null,
        result: null,
        error: null,
        createdAtMs: now(),
        createdBy,
        startedAtMs: null,
        endedAtMs: null,
      };
      const added = await store.addRun({ run, waitingMax: WAITING_MAX });
      if (added.ok) wake();
      return added;
    },
    async cancel(id) {
      const run = await store.getRun({ id });
      if (!run) return err("NOT_FOUND", { what: "training run", name: id });
      const mine = current?.id === id ? current : undefined;
      if (ENDED.has(run.phase) || mine?.registering) {
        const reason = ENDED.has(run.phase) ? `it has ended (${run.phase})` : "its model is being registered";
        return err("CONFLICT", { what: "The training run", name: id, reason });
      }
      await end(id, "cancelled", null);
      if (mine) await stop(mine, "cancelled");
      changed();
      return ok((await store.getRun({ id })) ?? run);
    },
    get: async (id) => fresh(await store.getRun({ id })),
    async *follow(id, signal) {
      let shown = "";
      for (;;) {
        // Listening before looking: a change in between is not missed.
        const next = once(changes, "change", { signal }).catch(() => undefined);
        const run = fresh(await store.getRun({ id }));
        if (!run || signal.aborted) return;
        const text = JSON.stringify(run);
        if (text !== shown) yield run;
        shown = text;
        if (ENDED.has(run.phase)) return;
        await next;
      }
    },
    async open() {
      const interrupted = problem("TRAINING_INTERRUPTED", { run: "that was under way" });
      for (const id of await store.interruptRunning({ problem: interrupted, nowMs: now() })) {
        ports.report("a training run was interrupted by the server's end", { run: id });
      }
      isOpen = true;
      wake();
    },
    async close() {
      isOpen = false;
      if (current) await stop(current, "closing");
      await working;
      changed();
    },
  };
}
