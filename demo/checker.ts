/** One row as the plant makes it, or as the server exports it: an asset, a time, and its channels' values. */
export interface Row {
  readonly asset: string;
  readonly observedAtMs: number;
  readonly values: Readonly<Record<string, number | null>>;
}

export interface Count {
  /** Values the plant made. */
  readonly produced: number;
  /** Of those, how many the server exports with exactly that value. */
  readonly committed: number;
  /** Made, but missing at the server or there with another value. */
  readonly lost: number;
  /** Exported more than once, or never made. */
  readonly duplicated: number;
  /** The first few differences, for people. */
  readonly examples: readonly string[];
}

/** Compares value by value what a plant made with what a server exports. */
export function compareRows(expected: Iterable<Row>, exported: Iterable<Row>): Count {
  const open = new Map<string, number | null>();
  const examples: string[] = [];
  const note = (text: string) => examples.length < 5 && examples.push(text);
  let produced = 0;
  for (const row of expected) {
    for (const [channel, value] of Object.entries(row.values)) {
      open.set(keyOf(row, channel), value);
      produced++;
    }
  }
  const seen = new Set<string>();
  let committed = 0;
  let duplicated = 0;
  for (const row of exported) {
    for (const [channel, value] of Object.entries(row.values)) {
      const key = keyOf(row, channel);
      const wanted = open.get(key);
      if (seen.has(key) || wanted === undefined) {
        duplicated++;
        note(`${key}: ${seen.has(key) ? "exported twice" : `exported as ${value}, never made`}`);
      } else if (Object.is(wanted, value)) committed++;
      else note(`${key}: made ${wanted}, exported ${value}`);
      seen.add(key);
    }
  }
  for (const key of open.keys()) if (!seen.has(key)) note(`${key}: missing`);
  return { produced, committed, lost: produced - committed, duplicated, examples };
}

/** Root mean square error of predictions against truth, and of the best constant that training knew. */
export function errorsOf(
  predictions: readonly { readonly value: number; readonly truth: number }[],
  meanOfTraining: number,
): { rmse: number; rmseMean: number } {
  const rms = (difference: (pair: { value: number; truth: number }) => number) =>
    Math.sqrt(predictions.reduce((sum, pair) => sum + difference(pair) ** 2, 0) / predictions.length);
  return { rmse: rms((pair) => pair.value - pair.truth), rmseMean: rms((pair) => meanOfTraining - pair.truth) };
}

function keyOf(row: Row, channel: string): string {
  return `${row.asset}/${channel}@${row.observedAtMs}`;
}

/** A prediction of an asset's remaining life, and the truth. */
export interface Judged {
  readonly asset: string;
  readonly value: number;
  readonly truth: number;
}

/** Rows of remaining life that are taken as one stretch of it. */
const STRETCH_ROWS = 25;

/**
 * Root mean square errors of two models that served one after the other, as if both had seen the same: a model is far
 * better near a failure and right after it than between, and whoever served last saw each machine in a part of one life.
 * The earlier one's squared errors count, by asset and stretch of remaining life, as often as the later one's
 * (direct standardization). `rows` are those of the later one that the earlier one has a stretch for; the others
 * count for neither.
 */
export function errorsAtEqualLife(
  earlier: readonly Judged[],
  later: readonly Judged[],
): { before: number; after: number; rows: number } {
  const stretchOf = ({ asset, truth }: Judged) => `${asset}@${Math.floor(truth / STRETCH_ROWS)}`;
  const squared = ({ value, truth }: Judged) => (value - truth) ** 2;
  const mean = (numbers: readonly number[]) => numbers.reduce((sum, one) => sum + one, 0) / numbers.length;
  const known = new Map(
    [...Map.groupBy(earlier, stretchOf)].map(([stretch, rows]) => [stretch, mean(rows.map(squared))] as const),
  );
  const comparable = later.filter((row) => known.has(stretchOf(row)));
  return {
    before: Math.sqrt(mean(comparable.map((row) => known.get(stretchOf(row)) as number))),
    after: Math.sqrt(mean(comparable.map(squared))),
    rows: comparable.length,
  };
}
