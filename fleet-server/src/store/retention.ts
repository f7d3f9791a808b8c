/** What is kept for a time and then deleted, each for its own. */
export const RETAINED = [
  "telemetry",
  "predictions",
  "events",
  "drift",
  "samples",
  "deadLetters",
  "minutes",
  "hours",
] as const;
export type Retained = (typeof RETAINED)[number];

/** Where a sweep goes on; it means something to the store alone. */
export type SweepPlace = readonly (string | number)[];

export interface RetentionStore {
  /**
   * Looks at some records of a class and deletes those whose corrected time is before `beforeMs`, unless they were
   * committed after `committedBeforeMs`: what is backfilled late stays a while for those who want it. Positions of streams
   * stay, so that nothing deleted is asked for again or taken for a loss. Answers where to go on; the class is through
   * where it does not.
   */
  sweep(args: {
    readonly retained: Retained;
    readonly beforeMs: number;
    readonly committedBeforeMs: number;
    readonly after?: SweepPlace;
  }): Promise<{ readonly deleted: number; readonly next?: SweepPlace }>;
  /** Gives some free pages of the file back to the disk, once they are many; answers whether more wait for it. */
  giveBack(args: Record<string, never>): Promise<boolean>;
  /** The file's length and what of it is free. */
  space(args: Record<string, never>): Promise<{ readonly bytes: number; readonly freeBytes: number }>;
}
