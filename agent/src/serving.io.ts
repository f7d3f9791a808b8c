import { basename, dirname } from "node:path";
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

/** Changes what the pipeline serves: a slot that is not open yet is loaded beside the serving thread first. */
export class ServingSet {
  readonly #parts: ServeParts;
  /** Slots whose sessions are open in the pipeline. */
  #open: ReadonlySet<string>;

  constructor(parts: ServeParts) {
    this.#parts = parts;
    const opened = parts.pipeline.outcomes.filter(({ problem }) => problem === undefined);
    this.#open = new Set(opened.map(({ slotDir }) => slotDir));
  }

  /** Serves exactly these models; a model that cannot be opened is answered with its problem and stays as it was. */
  async serve(
    models: readonly ActiveModel[],
  ): Promise<readonly Pick<ModelOutcome, "model" | "problem" | "shadowProblem">[]> {
    const { pipeline, spawner, log } = this.#parts;
    for (const { model, slotDir: served, shadowSlotDir } of models) {
      for (const slotDir of shadowSlotDir === undefined ? [served] : [served, shadowSlotDir]) {
        if (this.#open.has(slotDir)) continue;
        const verdict = await tryCandidate(spawner.worker("candidate", { slotDir }), LOAD_LIMIT_MS);
        // Nothing is changed then: what serves now goes on, for this model and all others.
        if (!verdict.ok) return [{ model, problem: verdict.problem }];
        log.info("a candidate was loaded beside the serving thread", { model, slotDir, loadMs: verdict.loadMs });
      }
    }
    const outcomes = await pipeline.serve(models);
    const failed = new Set(outcomes.filter(({ problem }) => problem !== undefined).map(({ slotDir }) => slotDir));
    const slots = models.flatMap(({ slotDir, predecessorSlotDir, shadowSlotDir }) =>
      [slotDir, predecessorSlotDir, shadowSlotDir].filter((slot) => slot !== undefined),
    );
    this.#open = new Set(slots.filter((slot) => !failed.has(slot)));
    for (const { model, slotDir, gapMs, problem } of outcomes) {
      if (problem) log.error(problem.message, { model, slotDir, code: problem.code });
      else log.info("a model serves", { model, slotDir, gapMs });
    }
    return outcomes;
  }
}

/** The digest a slot's folder is named by: `slots/{model}/{manifest digest in hex}`. */
export function digestOfSlot(slotDir: string): string {
  return `sha256:${basename(slotDir)}`;
}

/** The model a slot's folder belongs to. */
export function modelOfSlot(slotDir: string): string {
  return basename(dirname(slotDir));
}
