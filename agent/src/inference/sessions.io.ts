import { ok, type Result } from "@bellwether/protocol/result.ts";
import type { VerifiedModel } from "../trust/verified-model.ts";
import type { Engine, Serving } from "./engine.ts";
import { type HostedModel, hostedSession } from "./hosted-session.io.ts";
import type { ActiveModel, ModelOutcome } from "./pipeline.ts";
import { openSession } from "./session.io.ts";
import type { ModelSession, NativeGuard } from "./session.ts";

export interface SessionsOptions {
  readonly verify: (slotDir: string) => Promise<Result<VerifiedModel>>;
  readonly engine: Engine;
  readonly guard: NativeGuard;
  /** Told before a slot's first native call, so that a hang can be blamed on it. */
  readonly announce: (index: number, slotDir: string) => void;
}

/** Opens and closes sessions so that the engine serves what is wanted. */
export class Sessions {
  readonly #options: SessionsOptions;
  readonly #indices = new Map<string, number>();
  #serving = new Map<string, Serving>();
  /** Hosted sessions that were handed over and not taken yet, by slot. */
  #offered = new Map<string, HostedModel>();

  constructor(options: SessionsOptions) {
    this.#options = options;
  }

  /**
   * Makes the engine serve exactly these models. A model whose new session does not open goes on as it was; a session
   * that is no longer wanted is closed after the switch. A hosted one is taken as it is; all others are opened here,
   * and nothing is served meanwhile. Call it between passes only.
   */
  async serve(active: readonly ActiveModel[], hosted: readonly HostedModel[] = []): Promise<ModelOutcome[]> {
    this.#offered = new Map(hosted.map((one) => [one.facts.slotDir, one]));
    try {
      return await this.#serve(active);
    } finally {
      for (const { port } of this.#offered.values()) port.close();
    }
  }

  async #serve(active: readonly ActiveModel[]): Promise<ModelOutcome[]> {
    const next = new Map<string, Serving>();
    const outcomes: ModelOutcome[] = [];
    for (const wanted of active) {
      const startMs = performance.now();
      const opened = await this.#servingOf(wanted);
      const { model, slotDir, shadowSlotDir } = wanted;
      if (opened.ok) {
        const shadow = shadowSlotDir === undefined ? undefined : await this.#session(shadowSlotDir);
        next.set(model, shadow?.ok ? { ...opened.value, shadow: shadow.value } : opened.value);
        const shadowProblem = shadow && !shadow.ok ? { shadowProblem: shadow.error } : {};
        outcomes.push({ model, slotDir, gapMs: performance.now() - startMs, ...shadowProblem });
        continue;
      }
      const before = this.#serving.get(model);
      if (before !== undefined) next.set(model, before);
      outcomes.push({ model, slotDir, problem: opened.error });
    }
    const served = this.#options.engine.serve([...next.values()]);
    if (!served.ok) {
      await closeAllBut(next, this.#serving);
      return active.map(({ model, slotDir }) => ({ model, slotDir, problem: served.error }));
    }
    const before = this.#serving;
    this.#serving = next;
    await closeAllBut(before, next);
    return outcomes;
  }

  async close(): Promise<void> {
    this.#options.engine.serve([]);
    await closeAllBut(this.#serving, new Map());
    this.#serving = new Map();
  }

  async #servingOf({ slotDir, predecessorSlotDir }: ActiveModel): Promise<Result<Serving>> {
    const session = await this.#session(slotDir);
    if (!session.ok) return session;
    if (predecessorSlotDir === undefined) return ok({ session: session.value });
    const predecessor = await this.#session(predecessorSlotDir);
    // Without its predecessor a version can still be confirmed; only the comparison is missing.
    return ok(predecessor.ok ? { session: session.value, predecessor: predecessor.value } : { session: session.value });
  }

  async #session(slotDir: string): Promise<Result<ModelSession>> {
    const open = sessionsOf(this.#serving).find((session) => session.slotDir === slotDir);
    if (open !== undefined) return ok(open);
    const index = this.#indices.get(slotDir) ?? this.#indices.size;
    this.#indices.set(slotDir, index);
    this.#options.announce(index, slotDir);
    const { guard, verify } = this.#options;
    const hosted = this.#offered.get(slotDir);
    if (hosted !== undefined) {
      this.#offered.delete(slotDir);
      return ok(hostedSession(hosted, { guard, index, onLost: () => lost(slotDir) }));
    }
    const verified = await verify(slotDir);
    return verified.ok ? openSession(verified.value, { guard, index }) : verified;
  }
}

/** Nothing brings its thread back: the process ends, and opens the model anew when it starts. */
function lost(slotDir: string): never {
  throw new Error(`the thread that served ${slotDir} has ended`);
}

function sessionsOf(serving: ReadonlyMap<string, Serving>): ModelSession[] {
  return [...serving.values()].flatMap(({ session, predecessor, shadow }) =>
    [session, predecessor, shadow].filter((one) => one !== undefined),
  );
}

async function closeAllBut(these: ReadonlyMap<string, Serving>, kept: ReadonlyMap<string, Serving>): Promise<void> {
  const keep = new Set(sessionsOf(kept));
  for (const session of sessionsOf(these)) if (!keep.has(session)) await session.close();
}
