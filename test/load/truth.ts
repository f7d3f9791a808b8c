import type { TelemetryRow } from "@bellwether/protocol/messages/stream.ts";
import { seededRandom } from "@bellwether/protocol/random.ts";
import { roundToResolution } from "@bellwether/protocol/resolution.ts";

export const RESOLUTION = 0.01;
export const CHANNELS = ["vibration", "load", "temperature"] as const;

/** Who makes rows, and when: with it every row can be made again. */
export interface RowSource {
  readonly seed: number;
  /** Number of the device. */
  readonly device: number;
  readonly asset: string;
  /** Time of row 0. */
  readonly fromMs: number;
  /** Rows a second, at most 1,000: no two rows have one time. */
  readonly rate: number;
}

/** The nth row of a source. */
export function rowOf({ seed, device, asset, fromMs, rate }: RowSource, n: number): TelemetryRow {
  const random = seededRandom(seed * 1_048_576 + device, n);
  const values = Object.fromEntries(
    CHANNELS.map((channel) => [channel, roundToResolution(random.next() * 100, RESOLUTION)]),
  );
  return { asset, observedAtMs: fromMs + Math.round((n * 1_000) / rate), values };
}

/** Rows of one device, compared. */
export interface Comparison {
  /** Made, and not stored exactly so. */
  readonly lost: number;
  /** Stored again, or stored and never made. */
  readonly duplicated: number;
}

/** What a server exports of a device, held against the first `produced` rows of its source, value by value. */
export async function compareRows(
  source: RowSource,
  produced: number,
  exported: AsyncIterable<Pick<TelemetryRow, "observedAtMs" | "values">>,
): Promise<Comparison> {
  const seen = new Uint8Array(produced);
  let exact = 0;
  let duplicated = 0;
  for await (const row of exported) {
    const n = Math.round(((row.observedAtMs - source.fromMs) * source.rate) / 1_000);
    if (n < 0 || n >= produced || seen[n] === 1) {
      duplicated++;
      continue;
    }
    seen[n] = 1;
    const made = rowOf(source, n);
    if (row.observedAtMs === made.observedAtMs && sameValues(row.values, made.values)) exact++;
  }
  return { lost: produced - exact, duplicated };
}

function sameValues(a: TelemetryRow["values"], b: TelemetryRow["values"]): boolean {
  const names = Object.keys(b);
  return Object.keys(a).length === names.length && names.every((name) => Object.is(a[name], b[name]));
}
