import { CLOSE_LIST, COMMA, QUOTE } from "./json-scan.ts";
import type { ClockReading, TelemetryRow } from "./messages/stream.ts";
import { valueOfSteps } from "./resolution.ts";
import type { Tape } from "./scan-tape.ts";

/** One asset's rows in a scanned batch. */
export interface ScannedAsset {
  readonly asset: string;
  readonly model: undefined;
  readonly firstAtMs: number;
  readonly lastAtMs: number;
  /** Place in the batch of its last row, 0-based. */
  readonly lastIndex: number;
  /** Its last row. */
  last(): TelemetryRow;
}

/** What stands in a telemetry batch, without its rows. */
export interface TelemetryScan {
  readonly epoch: string;
  readonly fromSeq: number;
  readonly hist: boolean;
  readonly clock: ClockReading;
  readonly count: number;
  readonly assets: readonly ScannedAsset[];
}

// How a batch lies on the tape: its head, then each group. A group is the numbers of its assets and columns, the assets, the
// columns; of a column there are the place of its name, its resolution (0: none) and for each asset its last row: the place of
// the value's text, or its steps, NaN where it is null.
export const [EPOCH, SEQ, IS_HIST, BOOT, MONO_MS, WALL_MS, IS_SYNCED, COUNT, GROUP_COUNT, HEAD_WORDS] = [
  0, 1, 2, 3, 4, 5, 6, 7, 8, 9,
];
export const [ASSET_NAME, ROW_COUNT, FIRST_AT_MS, LAST_AT_MS, LAST_INDEX, OBSERVED_AT_MS, ASSET_WORDS] = [
  0, 1, 2, 3, 4, 5, 6,
];
export const COLUMN_WORDS = 2;

/** Where the columns of a group begin on the tape. */
export function columnsAt(groupAt: number, assets: number): number {
  return groupAt + 2 + assets * ASSET_WORDS;
}

/** What stands at a place of the tape; `json` is where it was read. */
export function scannedAt(tape: Tape, at: number, json: Buffer): TelemetryScan {
  const { words, texts } = tape;
  const word = (place: number) => words[at + place] as number;
  const clock = {
    bootId: texts[word(BOOT)] as string,
    monoMs: word(MONO_MS),
    wallMs: word(WALL_MS),
    clockSynced: word(IS_SYNCED) === 1,
  };
  const assets: ScannedAsset[] = [];
  let groupAt = at + HEAD_WORDS;
  for (let groups = word(GROUP_COUNT); groups > 0; groups--) {
    const assetCount = words[groupAt] as number;
    for (let place = 0; place < assetCount; place++) assets.push(assetAt(tape, groupAt, place, json));
    const columns = words[groupAt + 1] as number;
    groupAt = columnsAt(groupAt, assetCount) + columns * (COLUMN_WORDS + assetCount);
  }
  const epoch = texts[word(EPOCH)] as string;
  return { epoch, fromSeq: word(SEQ), hist: word(IS_HIST) === 1, clock, count: word(COUNT), assets };
}

function assetAt(tape: Tape, groupAt: number, place: number, json: Buffer): ScannedAsset {
  const { words, texts } = tape;
  const at = groupAt + 2 + place * ASSET_WORDS;
  const asset = texts[words[at + ASSET_NAME] as number] as string;
  return {
    asset,
    model: undefined,
    firstAtMs: words[at + FIRST_AT_MS] as number,
    lastAtMs: words[at + LAST_AT_MS] as number,
    lastIndex: words[at + LAST_INDEX] as number,
    last: () => {
      const observedAtMs = words[at + OBSERVED_AT_MS] as number;
      return { asset, observedAtMs, values: lastValues(tape, groupAt, place, json) };
    },
  };
}

function lastValues({ words }: Tape, groupAt: number, place: number, json: Buffer): Record<string, number | null> {
  const assets = words[groupAt] as number;
  const values: Record<string, number | null> = {};
  let at = columnsAt(groupAt, assets);
  for (let column = words[groupAt + 1] as number; column > 0; column--, at += COLUMN_WORDS + assets) {
    const resolution = words[at + 1] as number;
    const last = words[at + COLUMN_WORDS + place] as number;
    const value = resolution === 0 ? valueFrom(json, last) : Number.isNaN(last) ? null : valueOfSteps(last, resolution);
    values[nameFrom(json, words[at] as number)] = value;
  }
  return values;
}

/** The name that begins at a place. */
export function nameFrom(json: Buffer, from: number): string {
  let to = from;
  while (json[to] !== QUOTE) to++;
  return json.toString("latin1", from, to);
}

/** The number or null that was found at a place of a list. */
function valueFrom(json: Buffer, from: number): number | null {
  let to = from;
  while (json[to] !== COMMA && json[to] !== CLOSE_LIST) to++;
  const written = json.toString("latin1", from, to);
  return written === "null" ? null : Number(written);
}
