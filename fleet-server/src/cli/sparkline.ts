const BARS = ["▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"] as const;
const NOTHING = "·";

/** Values over time as one line of bars, least to most; a cell without any is a dot. Empty for no values at all. */
export function sparkline(
  atMs: readonly number[],
  values: readonly number[],
  { fromMs, toMs, cells }: { readonly fromMs: number; readonly toMs: number; readonly cells: number },
): string {
  const sums = new Float64Array(cells);
  const counts = new Float64Array(cells);
  for (const [index, at] of atMs.entries()) {
    const cell = Math.min(cells - 1, Math.max(0, Math.floor(((at - fromMs) / (toMs - fromMs)) * cells)));
    sums[cell]! += values[index] as number;
    counts[cell]! += 1;
  }
  const means = [...sums].map((sum, cell) => (counts[cell] === 0 ? undefined : sum / (counts[cell] as number)));
  const told = means.filter((mean) => mean !== undefined);
  if (told.length === 0) return "";
  const least = Math.min(...told);
  const height = Math.max(...told) - least;
  const bar = (mean: number) => BARS[height === 0 ? 3 : Math.round(((mean - least) / height) * (BARS.length - 1))];
  return means.map((mean) => (mean === undefined ? NOTHING : bar(mean))).join("");
}
