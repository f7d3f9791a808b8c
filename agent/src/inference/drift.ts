import { alarmLimit } from "@bellwether/protocol/drift/charts.ts";
import { AssetDetector, type DetectorSnapshot } from "@bellwether/protocol/drift/detector.ts";
import { SUM_UNIT, WindowFold } from "@bellwether/protocol/drift/fold.ts";
import { QualityMonitor } from "@bellwether/protocol/drift/quality.ts";
import type { DriftRecord } from "@bellwether/protocol/messages/drift.ts";
import type { DriftReference } from "@bellwether/protocol/reference/drift-reference.ts";
import { ok, type Result } from "@bellwether/protocol/result.ts";

const VERDICTS_MAX = 16;

/** What a model's drift detectors share. */
export interface DriftPlan {
  readonly reference: DriftReference;
  /** Digest of the reference: a saved detector of another one is not taken. */
  readonly digest: string;
  /** Features in the order of the vectors, and channels in the order of the rows. */
  readonly names: readonly string[];
  readonly channels: readonly string[];
  /** Assets of this model on this device: the false-alarm rate is the device's. */
  readonly assets: number;
}

/** A detector as it is saved with the asset's memory; plain JSON. */
export interface SavedDrift {
  readonly reference: string;
  readonly detector: DetectorSnapshot;
}

/** What a closed window says; the predictor adds which model it was. */
export type ClosedWindow = Omit<DriftRecord, "asset" | "model" | "version" | "digest">;

/**
 * Drift of one asset under one model: rows for the data themselves, vectors and scores for the process. A window that is
 * open when the agent stops begins anew; charts and baseline go on.
 */
export class AssetDrift {
  readonly #plan: DriftPlan;
  readonly #fold: WindowFold;
  readonly #detector: AssetDetector;
  readonly #quality: QualityMonitor;
  readonly #places: Int32Array;
  readonly #row: Float64Array;
  #restarts = 0;
  #fromMs = Number.NaN;

  constructor(plan: DriftPlan) {
    const { reference, names, channels, assets } = plan;
    this.#plan = plan;
    this.#fold = new WindowFold(reference, names);
    this.#detector = new AssetDetector(reference, alarmLimit(reference, assets));
    this.#quality = new QualityMonitor(reference);
    this.#places = Int32Array.from(reference.channels, ({ channel }) => channels.indexOf(channel));
    this.#row = new Float64Array(reference.channels.length);
  }

  /** Takes a row in model channel order. */
  row(observedAtMs: number, nowMs: number, values: Float64Array): void {
    for (let c = 0; c < this.#places.length; c += 1) this.#row[c] = values[this.#places[c]!] ?? Number.NaN;
    this.#quality.add(observedAtMs, nowMs, this.#row);
  }

  /** Takes a vector with its score, and gives the window it closes, if it closes one. `restarts` counts new lives. */
  vector(observedAtMs: number, features: Float64Array, score: number, restarts: number): ClosedWindow | undefined {
    if (restarts !== this.#restarts) {
      // What was folded belongs to the machine before its repair.
      this.#fold.drop();
      this.#detector.restart();
      this.#restarts = restarts;
    }
    if (this.#fold.vectors === 0) this.#fromMs = observedAtMs;
    this.#fold.add(features, score);
    if (this.#fold.vectors < this.#plan.reference.windowVectors) return undefined;
    const figures = this.#fold.close();
    const { n, sum, sumSq, bins } = figures;
    const { phase, verdicts } = this.#detector.step(figures, this.#fromMs);
    return {
      fromMs: this.#fromMs,
      observedAtMs,
      reference: this.#plan.digest,
      phase,
      ...this.#own(),
      sketch: { n, sum, sumSq, bins },
      verdicts: verdicts.slice(0, VERDICTS_MAX),
      quality: this.#quality.close(),
    };
  }

  save(): SavedDrift {
    return { reference: this.#plan.digest, detector: this.#detector.snapshot() };
  }

  /** Goes on where a detector of the same reference was saved; another one is left alone and this begins anew. */
  restore({ reference, detector }: SavedDrift): Result<void> {
    if (reference !== this.#plan.digest) return ok(undefined);
    return this.#detector.restore(detector);
  }

  #own(): Pick<DriftRecord, "own"> {
    const own = this.#plan.reference.features.map((_, f) => this.#detector.own(f));
    // Before the baseline is whole nothing is known of any feature.
    if (own.every(Number.isNaN)) return {};
    return { own: own.map((value) => (Number.isNaN(value) ? null : Math.round(value * SUM_UNIT))) };
  }
}
