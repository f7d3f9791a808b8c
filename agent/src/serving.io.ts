import { basename, dirname } from "node:path";
import { MessageChannel, type MessagePort, type Worker } from "node:worker_threads";
import type { RoleSpawner } from "@bellwether/protocol/process/roles.io.ts";
import { ok, type Result } from "@bellwether/protocol/result.ts";
import { type CandidateFate, tryCandidate } from "./inference/candidate.worker.ts";
import type { HostedModel } from "./inference/hosted-session.io.ts";
import type { Pipeline } from "./inference/pipeline.io.ts";
import type { ActiveModel, ModelOutcome } from "./inference/pipeline.ts";
import { LOAD_LIMIT_MS } from "./inference/session.ts";
import type { Logger } from "./log.ts";

/**
 * Verifying and loading that takes longer is not done again in the serving thread: a prediction may be a quarter of a
 * second late on a busy machine, and a message to another thread costs each vector 63 us for as long as the process runs.
 */
const OPEN_MS_MAX = 50;

export interface ServeParts {
  readonly pipeline: Pipeline;
  readonly spawner: RoleSpawner<"candidate">;
  readonly log: Logger;
}

/**
 * Changes what the pipeline serves, one model at a time: a slot that is not open yet is loaded beside the serving thread
 * first, and while that takes its time, or never ends, every other model can be changed. One that cannot be opened goes on
 * as it was.
 */
export class ServingSet {
  readonly #parts: ServeParts;
  /** What the pipeline has open, by model. */
  #active: ReadonlyMap<string, ActiveModel>;
  #switching: Promise<unknown> = Promise.resolve();

  constructor(parts: ServeParts) {
    this.#parts = parts;
    const opened = parts.pipeline.outcomes.filter(({ problem }) => problem === undefined);
    this.#active = new Map(opened.map(({ model, slotDir }) => [model, { model, slotDir }]));
  }

  /** Serves a model so, or no more; where it cannot be opened it stays as it was, and the problem is the answer. */
  async serve(
    model: string,
    wanted: ActiveModel | undefined,
  ): Promise<Pick<ModelOutcome, "problem" | "shadowProblem">> {
    const tried = wanted === undefined ? ok([]) : await this.#tried(wanted);
    if (!tried.ok) return { problem: tried.error };
    // Switches follow each other, for each is made from what the one before it left.
    const before = this.#switching.catch(() => undefined);
    const switched = before.then(() => this.#switch(model, wanted, tried.value));
    this.#switching = switched;
    return switched;
  }

  async #switch(
    model: string,
    wanted: ActiveModel | undefined,
    hosted: readonly HostedModel[],
  ): Promise<Omit<ModelOutcome, "model" | "slotDir">> {
    const { pipeline, log } = this.#parts;
    const next = new Map(this.#active);
    if (wanted) next.set(model, wanted);
    else next.delete(model);
    const outcomes = await pipeline.serve([...next.values()], hosted);
    const outcome = outcomes.find((one) => one.model === model);
    if (outcome?.problem) {
      const { problem, slotDir } = outcome;
      log.error(problem.message, { model, slotDir, code: problem.code });
      return outcome;
    }
    this.#active = next;
    if (outcome) log.info("a model serves", { model, slotDir: outcome.slotDir, gapMs: outcome.gapMs });
    return outcome ?? {};
  }

  /**
   * Loads what is not open yet in a thread of its own; the problem where it does not load. What took long to open is
   * served from there, for to open it anew in the serving thread would stop every model of the device as long.
   */
  async #tried({ model, slotDir: served, shadowSlotDir }: ActiveModel): Promise<Result<HostedModel[]>> {
    const hosted: HostedModel[] = [];
    const { spawner, log } = this.#parts;
    const open = new Set([...this.#active.values()].flatMap(slotsOf));
    for (const slotDir of [served, shadowSlotDir]) {
      if (slotDir === undefined || open.has(slotDir)) continue;
      const worker = spawner.worker("candidate", { slotDir });
      const verdict = await tryCandidate(worker, LOAD_LIMIT_MS);
      if (!verdict.ok) {
        for (const { port } of hosted) port.close();
        return { ok: false, error: verdict.problem };
      }
      const { openMs, facts } = verdict;
      const staysThere = openMs > OPEN_MS_MAX;
      log.info("a candidate was loaded beside the serving thread", { model, slotDir, openMs, staysThere });
      if (staysThere) hosted.push({ facts, port: hostIn(worker) });
      else worker.postMessage("close" satisfies CandidateFate);
    }
    return ok(hosted);
  }
}

/** Has a candidate's thread serve its session; the port to run it over. */
function hostIn(worker: Worker): MessagePort {
  const { port1: host, port2: port } = new MessageChannel();
  worker.postMessage({ host } satisfies CandidateFate, [host]);
  return port;
}

function slotsOf({ slotDir, predecessorSlotDir, shadowSlotDir }: ActiveModel): string[] {
  return [slotDir, predecessorSlotDir, shadowSlotDir].filter((slot) => slot !== undefined);
}

/** The model a slot's folder belongs to. */
export function modelOfSlot(slotDir: string): string {
  return basename(dirname(slotDir));
}
