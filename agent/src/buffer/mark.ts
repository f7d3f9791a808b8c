/** What lies up to `upTo` came to where it is (was committed, was acknowledged) by `atMs`. */
export interface Mark {
  readonly atMs: number;
  readonly upTo: number;
}

/** Marks stand this far apart at least; their number is the kept time over this. */
const MARK_FRACTION = 1 / 32;

/** A list of marks, ascending, with one more: instead of a time for each chunk, a few for each stream. */
export function addMark(marks: readonly Mark[], mark: Mark, keepMs: number): readonly Mark[] {
  const last = marks.at(-1);
  const before = marks.at(-2);
  // The newest mark moves along until it stands far enough from the one before; then it stays, as a lower bound of time.
  if (last !== undefined && mark.atMs - (before?.atMs ?? Number.NEGATIVE_INFINITY) < keepMs * MARK_FRACTION) {
    return [...marks.slice(0, -1), mark];
  }
  return [...marks, mark];
}

/**
 * Up to which seq everything came at least `keepMs` ago and may go, and the marks still needed. It goes at most a
 * thirty-second part of `keepMs` later. A clock that was set back makes it stay longer; the budget takes it then.
 */
export function dueMarks(
  marks: readonly Mark[],
  nowMs: number,
  keepMs: number,
): { readonly upTo: number; readonly marks: readonly Mark[] } {
  const kept = marks.findIndex((mark) => nowMs - mark.atMs < keepMs);
  const due = kept === -1 ? marks.length : kept;
  return { upTo: marks[due - 1]?.upTo ?? 0, marks: marks.slice(due) };
}
