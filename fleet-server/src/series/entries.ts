import { type Figures, merge } from "./figures.ts";

/**
 * Figures of several channels in one array of doubles, `ENTRY` numbers for each: a key that says which channel, then its figures.
 * So they lie in the store, and so they cross threads: an object for each costs more than adding it up.
 */
export const ENTRY = 9;

/** The figures of the entry that begins at a place. */
export function figuresOfEntry(entries: Float64Array, at: number): Figures {
  return {
    count: entries[at + 1] as number,
    hist: entries[at + 2] as number,
    min: entries[at + 3] as number,
    max: entries[at + 4] as number,
    sum: entries[at + 5] as number,
    sumError: entries[at + 6] as number,
    last: entries[at + 7] as number,
    lastAtMs: entries[at + 8] as number,
  };
}

/** Writes the entry that begins at a place. */
export function setEntry(entries: Float64Array, at: number, key: number, figures: Figures): void {
  entries[at] = key;
  entries[at + 1] = figures.count;
  entries[at + 2] = figures.hist;
  entries[at + 3] = figures.min;
  entries[at + 4] = figures.max;
  entries[at + 5] = figures.sum;
  entries[at + 6] = figures.sumError;
  entries[at + 7] = figures.last;
  entries[at + 8] = figures.lastAtMs;
}

/** Where the entry of a key begins, looked for at `likely` first; -1 where there is none. */
export function entryOf(entries: Float64Array, key: number, likely = 0): number {
  if (entries[likely] === key) return likely;
  for (let at = 0; at < entries.length; at += ENTRY) if (entries[at] === key) return at;
  return -1;
}

/** What was there with what was committed later added to it; each key is in either at most once. */
export function mergeEntries(there: Float64Array, later: Float64Array): Float64Array {
  const merged = new Float64Array(there.length + later.length);
  merged.set(there);
  let end = there.length;
  for (let from = 0; from < later.length; from += ENTRY) {
    const at = entryOf(there, later[from] as number, from);
    if (at < 0) {
      merged.set(later.subarray(from, from + ENTRY), end);
      end += ENTRY;
      continue;
    }
    const figures = figuresOfEntry(there, at);
    merge(figures, figuresOfEntry(later, from));
    setEntry(merged, at, there[at] as number, figures);
  }
  return merged.subarray(0, end);
}
