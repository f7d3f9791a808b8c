import type { DriftSketch } from "../messages/drift.ts";
import type { DriftReference } from "../reference/drift-reference.ts";
import { err, ok, type Result } from "../result.ts";

/** Whether a sketch was made with this reference's features, regimes and edges; names what is other. */
export function fitsReference(sketch: DriftSketch, reference: DriftReference): Result<void> {
  const F = reference.features.length;
  const other = (what: string) => err("DRIFT_EDGES_DIFFER", { what });
  for (const list of ["n", "sum", "sumSq"] as const) {
    if (sketch[list].length !== F) return other(`${sketch[list].length} features in ${list}, not ${F}`);
  }
  for (const { regime, counts } of sketch.bins) {
    const edges = reference.bins[regime];
    if (edges === undefined) return other(`regime ${regime} of ${reference.bins.length}`);
    if (counts.length !== F) return other(`${counts.length} features in regime ${regime}, not ${F}`);
    const wrong = counts.findIndex((bins, f) => bins.length !== edges[f]!.edges.length + 1);
    if (wrong >= 0) return other(`${counts[wrong]!.length} bins of ${reference.features[wrong]}`);
  }
  return ok(undefined);
}

/** The sketch of nothing. */
export function emptySketch(reference: DriftReference): DriftSketch {
  const zeros = () => reference.features.map(() => 0);
  return { n: zeros(), sum: zeros(), sumSq: zeros(), bins: [] };
}

/**
 * One sketch of two. Whole numbers add up exactly, so any order and grouping gives the same; that nothing is merged
 * twice is the caller's to see to, by the window's key.
 */
export function mergeSketches(a: DriftSketch, b: DriftSketch): DriftSketch {
  const added = (x: readonly number[], y: readonly number[]) => x.map((value, i) => value + y[i]!);
  const regimes = [...new Set([...a.bins, ...b.bins].map(({ regime }) => regime))].toSorted((x, y) => x - y);
  return {
    n: added(a.n, b.n),
    sum: added(a.sum, b.sum),
    sumSq: added(a.sumSq, b.sumSq),
    bins: regimes.map((regime) => {
      const [first, second] = [a, b].map((sketch) => sketch.bins.find((one) => one.regime === regime)?.counts);
      if (first === undefined || second === undefined) return { regime, counts: (first ?? second)! };
      return { regime, counts: first.map((counts, f) => added(counts, second[f]!)) };
    }),
  };
}
