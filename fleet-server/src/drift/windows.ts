import { SUM_UNIT, statisticsOf } from "@bellwether/protocol/drift/fold.ts";
import { fitsReference } from "@bellwether/protocol/drift/merge.ts";
import type { ChartVerdict, DriftPhase, DriftRecord, QualityFinding } from "@bellwether/protocol/messages/drift.ts";
import type { DriftReference } from "@bellwether/protocol/reference/drift-reference.ts";
import { ok, type Result } from "@bellwether/protocol/result.ts";

/** A window as cohorts are judged by it. */
export interface JudgedWindow {
  readonly device: string;
  readonly site: string;
  readonly asset: string;
  /** Digest of the reference this was held against. */
  readonly reference: string;
  readonly fromMs: number;
  readonly toMs: number;
  readonly phase: DriftPhase;
  /**
   * Per feature, the window mean's distance from what the reference expects of this asset after its own baseline, in
   * units of the chart's scale; NaN where nothing was there. Absent while the asset makes its baseline.
   */
  readonly distances: Float64Array | undefined;
  readonly verdicts: readonly ChartVerdict[];
  readonly quality: readonly QualityFinding[];
}

/** A committed window against its reference; one whose sketch was made with other edges is refused. */
export function judgedWindow(
  { device, site, record }: { readonly device: string; readonly site: string; readonly record: DriftRecord },
  reference: DriftReference,
): Result<JudgedWindow> {
  const fits = fitsReference(record.sketch, reference);
  if (!fits.ok) return fits;
  const { asset, fromMs, observedAtMs: toMs, phase, verdicts, quality } = record;
  const distances = distancesOf(record, reference);
  return ok({ device, site, asset, reference: record.reference, fromMs, toMs, phase, distances, verdicts, quality });
}

function distancesOf({ own, sketch }: DriftRecord, reference: DriftReference): Float64Array | undefined {
  if (own === undefined) return undefined;
  const { mean } = statisticsOf(sketch);
  return mean.map((value, f) => {
    const { centre, scale, lasting } = reference.mean[f]!;
    const known = own[f];
    const expected = centre + (known == null ? 0 : lasting * (known / SUM_UNIT - centre));
    return (value - expected) / scale;
  });
}

/**
 * The newest windows of every asset under one model; late ones find their place, and the same one counts once. A model
 * version with another reference begins an asset's list anew.
 */
export class NewestWindows {
  readonly #perAsset: number;
  readonly #byAsset = new Map<string, JudgedWindow[]>();

  constructor(perAsset: number) {
    this.#perAsset = perAsset;
  }

  add(window: JudgedWindow): void {
    const key = `${window.device}/${window.asset}`;
    const before = this.#byAsset.get(key) ?? [];
    const newest = before.at(-1);
    const other = newest !== undefined && newest.reference !== window.reference;
    // What a device still says of the version before is late news.
    if (other && window.fromMs < newest.fromMs) return;
    const own = other ? [] : before;
    if (own.some(({ fromMs }) => fromMs === window.fromMs)) return;
    const place = own.findIndex(({ fromMs }) => fromMs > window.fromMs);
    const next = own.toSpliced(place < 0 ? own.length : place, 0, window);
    this.#byAsset.set(key, next.slice(-this.#perAsset));
  }

  /** References that some asset is held against now. */
  references(): Set<string> {
    return new Set([...this.#byAsset.values()].map((windows) => windows[0]!.reference));
  }

  /** Windows of these devices under a reference, by asset, oldest first. */
  of(reference: string, devices: ReadonlySet<string>): JudgedWindow[][] {
    return [...this.#byAsset.values()].filter(
      ([first]) => first!.reference === reference && devices.has(first!.device),
    );
  }
}
