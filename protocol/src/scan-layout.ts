import { QUOTE } from "./json-scan.ts";

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

/** The name that begins at a place. */
export function nameFrom(json: Buffer, from: number): string {
  let to = from;
  while (json[to] !== QUOTE) to++;
  return json.toString("latin1", from, to);
}
