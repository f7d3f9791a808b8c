/** Both ends included. */
export type Range = readonly [from: number, to: number];

/** What of a stream is committed: everything up to `upTo`, and ranges beyond it, ascending and apart. */
export interface Position {
  readonly upTo: number;
  readonly also: readonly Range[];
}

/** Ranges beyond the prefix that are kept, and that an acknowledgement may name. */
export const RANGES_MAX = 256;

/** Whether a position is one that may be kept. What would tear one hole too many waits until older holes are closed. */
export function fits(position: Position): boolean {
  return position.also.length <= RANGES_MAX;
}

export const NOTHING: Position = { upTo: 0, also: [] };

/** Whether a range goes on where a stream without holes ends: nearly always it does. */
export function continues(position: Position, from: number): boolean {
  return from === position.upTo + 1 && position.also.length === 0;
}

/** The parts of a range that are not committed yet, ascending. */
export function missing(position: Position, [from, to]: Range): Range[] {
  const parts: Range[] = [];
  let next = Math.max(from, position.upTo + 1);
  for (const [start, end] of position.also) {
    if (next > to) break;
    if (start > next) parts.push([next, Math.min(to, start - 1)]);
    next = Math.max(next, end + 1);
  }
  if (next <= to) parts.push([next, to]);
  return parts;
}

/** The position with a range added: touching ranges become one, and those that reach the prefix become prefix. */
export function add(position: Position, range: Range): Position {
  const also: Range[] = [];
  let [from, to] = range;
  for (const [start, end] of position.also) {
    if (end + 1 < from || start > to + 1) also.push([start, end]);
    else [from, to] = [Math.min(from, start), Math.max(to, end)];
  }
  also.push([from, to]);
  also.sort((a, b) => a[0] - b[0]);
  let { upTo } = position;
  while (also[0] && also[0][0] <= upTo + 1) upTo = Math.max(upTo, (also.shift() as Range)[1]);
  return { upTo, also };
}
