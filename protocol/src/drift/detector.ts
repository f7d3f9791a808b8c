import { type Static, Type } from "typebox";
import { type ChartVerdict, DRIFT_PHASES, type DriftPhase } from "../messages/drift.ts";
import type { ChartReference, DriftReference } from "../reference/drift-reference.ts";
import { err, ok, type Result } from "../result.ts";
import { integer, oneOf, validator } from "../schema.ts";
import { distanceOf, nextSum } from "./charts.ts";
import { statisticsOf, type WindowFigures } from "./fold.ts";

export const SCORE_CHART = "(score)";

const NumberOrNull = Type.Union([Type.Number(), Type.Null()]);
const Snapshot = Type.Object(
  {
    v: Type.Literal(1),
    phase: oneOf(DRIFT_PHASES),
    windows: integer({ minimum: 0 }),
    warmed: integer({ minimum: 0 }),
    own: Type.Array(NumberOrNull),
    ownCount: Type.Array(integer({ minimum: 0 })),
    up: Type.Array(Type.Number()),
    down: Type.Array(Type.Number()),
    /** Per chart and side: since when the sum is above zero, the statistics since then and how many. */
    runs: Type.Array(Type.Object({ sinceMs: Type.Number(), sum: Type.Number(), count: integer() })),
    score: Type.Union([Type.Null(), Type.Object({ mean: Type.Number(), health: integer({ minimum: 0 }) })]),
  },
  { additionalProperties: false },
);
/** A detector as it is saved; plain JSON. */
export type DetectorSnapshot = Static<typeof Snapshot>;
const snapshotShape = validator("The saved drift detector", Snapshot);

/** Shares of the limit at which a chart becomes suspect, and below which all must fall to be stable again. */
const SUSPECT_SHARE = 0.5;
const STABLE_SHARE = 0.25;

/** What the largest share of the limit means in each phase. */
const NEXT: Readonly<Record<DriftPhase, (share: number) => DriftPhase>> = {
  warming: (share) => judged(share, "stable"),
  stable: (share) => judged(share, "stable"),
  suspect: (share) => (share < STABLE_SHARE ? "stable" : judged(share, "suspect")),
  drifted: (share) => (share < STABLE_SHARE ? "stable" : "drifted"),
};

function judged(share: number, below: DriftPhase): DriftPhase {
  if (share >= 1) return "drifted";
  return share >= SUSPECT_SHARE ? "suspect" : below;
}

interface Run {
  sinceMs: number;
  sum: number;
  count: number;
}

/** What one closed window led to. */
export interface DetectorStep {
  readonly phase: DriftPhase;
  readonly verdicts: readonly ChartVerdict[];
}

/**
 * The drift detector of one asset: its first windows make its own baseline, every later one moves two CUSUMs per chart.
 * Pure but for its own memory; time comes in with the window.
 */
export class AssetDetector {
  readonly reference: DriftReference;
  #limit: number;
  #phase: DriftPhase = "warming";
  #windows = 0;
  #warmed = 0;
  readonly #own: Float64Array;
  readonly #ownCount: Int32Array;
  readonly #up: Float64Array;
  readonly #down: Float64Array;
  #runs: Run[];
  #score: { mean: number; health: number } | undefined;

  constructor(reference: DriftReference, limit: number) {
    const charts = 2 * reference.features.length + 1;
    this.reference = reference;
    this.#limit = limit;
    this.#own = new Float64Array(charts).fill(Number.NaN);
    this.#ownCount = new Int32Array(charts);
    this.#up = new Float64Array(charts);
    this.#down = new Float64Array(charts);
    this.#runs = Array.from({ length: 2 * charts }, () => ({ sinceMs: 0, sum: 0, count: 0 }));
  }

  get phase(): DriftPhase {
    return this.#phase;
  }

  /** Windows judged or taken into the baseline so far. */
  get windows(): number {
    return this.#windows;
  }

  /** The asset's own distance from the reference, per feature, in spreads; NaN while it is not known. */
  own(feature: number): number {
    return this.#warmed < this.reference.baselineWindows ? Number.NaN : this.#own[feature]!;
  }

  /** Takes a closed window; `fromMs` and `toMs` are the source times of its first and last row. */
  step(figures: WindowFigures, fromMs: number): DetectorStep {
    const { features, mean, spread, score, baselineWindows } = this.reference;
    const F = features.length;
    const { mean: means, logSpread } = statisticsOf(figures);
    const before = this.#score;
    this.#score = figures.score === undefined ? undefined : { ...figures.score };
    this.#windows += 1;
    if (this.#warmed < baselineWindows) {
      this.#warmed += 1;
      for (let c = 0; c < 2 * F; c += 1) this.#takeOwn(c, c < F ? means[c]! : logSpread[c - F]!);
      if (this.#phase === "warming") return { phase: "warming", verdicts: [] };
    }
    for (let f = 0; f < F; f += 1) {
      this.#move(f, mean[f]!, means[f]!, fromMs);
      this.#move(F + f, spread[f]!, logSpread[f]!, fromMs);
    }
    if (before !== undefined && figures.score !== undefined) {
      this.#move(2 * F, score[before.health]!, figures.score.mean - before.mean, fromMs);
    }
    const share = Math.max(...this.#up, ...this.#down) / this.#limit;
    this.#phase = NEXT[this.#phase](share);
    return { phase: this.#phase, verdicts: this.#verdicts() };
  }

  /** The asset is new (repaired, replaced): it makes a baseline again; what its charts have seen is kept. */
  restart(): void {
    this.#warmed = 0;
    this.#own.fill(Number.NaN);
    this.#ownCount.fill(0);
    this.#score = undefined;
  }

  snapshot(): DetectorSnapshot {
    return {
      v: 1,
      phase: this.#phase,
      windows: this.#windows,
      warmed: this.#warmed,
      own: Array.from(this.#own, (value) => (Number.isNaN(value) ? null : value)),
      ownCount: Array.from(this.#ownCount),
      up: Array.from(this.#up),
      down: Array.from(this.#down),
      runs: this.#runs.map((run) => ({ ...run })),
      score: this.#score === undefined ? null : { ...this.#score },
    };
  }

  /** Goes on where a snapshot was taken; one of another reference is refused and nothing changes. */
  restore(given: unknown): Result<void> {
    const shape = snapshotShape.check(given);
    if (!shape.ok) return err("FEATURE_STATE_WRONG", { reason: shape.error.message });
    const saved = shape.value;
    const charts = this.#up.length;
    const fits = [saved.own, saved.ownCount, saved.up, saved.down].every((list) => list.length === charts);
    if (!fits || saved.runs.length !== 2 * charts || (saved.score?.health ?? 0) >= this.reference.score.length) {
      return err("FEATURE_STATE_WRONG", { reason: `a drift detector of ${saved.up.length} charts, not ${charts}` });
    }
    this.#phase = saved.phase;
    this.#windows = saved.windows;
    this.#warmed = saved.warmed;
    this.#own.set(saved.own.map((value) => value ?? Number.NaN));
    this.#ownCount.set(saved.ownCount);
    this.#up.set(saved.up);
    this.#down.set(saved.down);
    this.#runs = saved.runs.map((run) => ({ ...run }));
    this.#score = saved.score ?? undefined;
    return ok(undefined);
  }

  #takeOwn(chart: number, value: number): void {
    if (Number.isNaN(value)) return;
    const count = this.#ownCount[chart]! + 1;
    const known = count === 1 ? 0 : this.#own[chart]!;
    this.#ownCount[chart] = count;
    this.#own[chart] = known + (value - known) / count;
  }

  #move(chart: number, reference: ChartReference, value: number, fromMs: number): void {
    if (Number.isNaN(value)) return;
    // A chart whose asset is making its baseline anew waits: there is nothing to hold it against yet.
    const isScore = chart === this.#up.length - 1;
    if (!isScore && this.#warmed < this.reference.baselineWindows) return;
    const distance = distanceOf(reference, value, this.#own[chart]!);
    this.#up[chart] = nextSum(this.#up[chart]!, distance, reference.allowance);
    this.#down[chart] = nextSum(this.#down[chart]!, -distance, reference.allowance);
    const own = Number.isNaN(this.#own[chart]!) ? 0 : reference.lasting * (this.#own[chart]! - reference.centre);
    const shift = value - reference.centre - own;
    this.#follow(2 * chart, this.#up[chart]!, shift, fromMs);
    this.#follow(2 * chart + 1, this.#down[chart]!, shift, fromMs);
  }

  #follow(side: number, sum: number, shift: number, fromMs: number): void {
    const run = this.#runs[side]!;
    if (sum === 0) {
      run.count = 0;
      return;
    }
    if (run.count === 0) {
      run.sinceMs = fromMs;
      run.sum = 0;
    }
    run.count += 1;
    run.sum += shift;
  }

  #verdicts(): ChartVerdict[] {
    const F = this.reference.features.length;
    const verdicts: ChartVerdict[] = [];
    for (let c = 0; c < this.#up.length; c += 1) {
      const kind: ChartVerdict["kind"] = c < F ? "mean" : c < 2 * F ? "spread" : "score";
      const feature = kind === "score" ? SCORE_CHART : this.reference.features[c % F]!;
      for (const [direction, sum, side] of [
        ["up", this.#up[c]!, 2 * c],
        ["down", this.#down[c]!, 2 * c + 1],
      ] as const) {
        if (sum < SUSPECT_SHARE * this.#limit) continue;
        const { sinceMs, sum: shifts, count } = this.#runs[side]!;
        verdicts.push({ feature, kind, direction, sum, limit: this.#limit, shift: shifts / count, sinceMs });
      }
    }
    return verdicts.toSorted((a, b) => b.sum - a.sum);
  }
}
