import { basename, dirname } from "node:path";
import type { Problem } from "@bellwether/protocol/errors.ts";
import type { RoleSpawner } from "@bellwether/protocol/process/roles.io.ts";
import { tryCandidate } from "./inference/candidate.worker.ts";
import type { Pipeline } from "./inference/pipeline.io.ts";
import type { ActiveModel, ModelOutcome } from "./inference/pipeline.ts";
import { LOAD_LIMIT_MS } from "./inference/session.ts";
import type { Logger } from "./log.ts";

export interface ServeParts {
  readonly pipeline: Pipeline;
  readonly spawner: RoleSpawner<"candidate">;
  readonly log: Logger;
}

/**
 * Changes what the pipeline serves: a slot that is not open yet is loaded beside the serving thread first. Each model
 * stands for itself: one that cannot be opened goes on as it was, and keeps no other from being changed.
 */
export class ServingSet {
  readonly #parts: ServeParts;
  /** What the pipeline has open, by model. */
  #active: ReadonlyMap<string, ActiveModel>;

  constructor(parts: ServeParts) {
    this.#parts = parts;
    const opened = parts.pipeline.outcomes.filter(({ problem }) => problem === undefined);
    this.#active = new Map(opened.map(({ model, slotDir }) => [model, { model, slotDir }]));
  }

  /** Serves exactly these models; a model that cannot be opened is answered with its problem and stays as it was. */
  async serve(
    models: readonly ActiveModel[],
  ): Promise<readonly Pick<ModelOutcome, "model" | "problem" | "shadowProblem">[]> {
    const { pipeline, log } = this.#parts;
    const refused = new Map<string, Problem>();
    const next = new Map<string, ActiveModel>();
    for (const wanted of models) {
      const problem = await this.#tried(wanted);
      if (problem) refused.set(wanted.model, problem);
      const serves = problem ? this.#active.get(wanted.model) : wanted;
      if (serves) next.set(wanted.model, serves);
    }
    const outcomes = await pipeline.serve([...next.values()]);
    for (const { model, slotDir, gapMs, problem } of outcomes) {
      if (problem) {
        const before = this.#active.get(model);
        if (before) next.set(model, before);
        else next.delete(model);
        log.error(problem.message, { model, slotDir, code: problem.code });
      } else log.info("a model serves", { model, slotDir, gapMs });
    }
    this.#active = next;
    const answers = outcomes.filter(({ model }) => !refused.has(model));
    return [...answers, ...[...refused].map(([model, problem]) => ({ model, problem }))];
  }

  /** Loads what is not open yet in a thread of its own; the problem where it does not load. */
  async #tried({ model, slotDir: served, shadowSlotDir }: ActiveModel): Promise<Problem | undefined> {
    const { spawner, log } = this.#parts;
    const open = new Set([...this.#active.values()].flatMap(slotsOf));
    for (const slotDir of [served, shadowSlotDir]) {
      if (slotDir === undefined || open.has(slotDir)) continue;
      const verdict = await tryCandidate(spawner.worker("candidate", { slotDir }), LOAD_LIMIT_MS);
      if (!verdict.ok) return verdict.problem;
      log.info("a candidate was loaded beside the serving thread", { model, slotDir, loadMs: verdict.loadMs });
    }
    return undefined;
  }
}

function slotsOf({ slotDir, predecessorSlotDir, shadowSlotDir }: ActiveModel): string[] {
  return [slotDir, predecessorSlotDir, shadowSlotDir].filter((slot) => slot !== undefined);
}

/** The digest a slot's folder is named by: `slots/{model}/{manifest digest in hex}`. */
export function digestOfSlot(slotDir: string): string {
  return `sha256:${basename(slotDir)}`;
}

/** The model a slot's folder belongs to. */
export function modelOfSlot(slotDir: string): string {
  return basename(dirname(slotDir));
}
