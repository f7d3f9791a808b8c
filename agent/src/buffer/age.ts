import { type ClockReading, STREAMS } from "@bellwether/protocol/messages/stream.ts";
import { addMark, dueMarks, type Mark } from "./mark.ts";
import { type PerStream, perStream } from "./per-stream.ts";

/**
 * How old what is held is, by the outbox's own time: the monotonic clock, summed over boots. A wall clock that jumps
 * ages nothing, and a device that is off does not age what it holds: nothing is given up for a wrong clock.
 */
export interface Ages {
  /** The monotonic clock when `heldMs` was true, and the boot it belongs to. */
  readonly bootId: string;
  readonly monoMs: number;
  /** The outbox's own time: how long this file has been held by a device that was on. */
  readonly heldMs: number;
  /** Of each stream: the records up to `upTo` were durable at `atMs` of that time. */
  readonly marks: PerStream<readonly Mark[]>;
}

/** The ages as they were saved, or those of a new file; records of unknown age count as taken now. */
export function beginAges(saved: Ages | undefined, reading: ClockReading, next: PerStream<number>): Ages {
  const { bootId, monoMs } = reading;
  const before = saved ?? { bootId, monoMs, heldMs: 0, marks: perStream(() => []) };
  const now = agesAt(before, reading);
  const marks = perStream((stream) => {
    const known = now.marks[stream].filter(({ upTo }) => upTo < next[stream]);
    const upTo = next[stream] - 1;
    return (known.at(-1)?.upTo ?? 0) < upTo ? [...known, { atMs: now.heldMs, upTo }] : known;
  });
  return { ...now, marks };
}

/** The same, as time has passed. Of another boot it is not known how long it ran before: that time counts as none. */
export function agesAt(ages: Ages, { bootId, monoMs }: ClockReading): Ages {
  const passedMs = bootId === ages.bootId ? Math.max(0, monoMs - ages.monoMs) : 0;
  return { ...ages, bootId, monoMs, heldMs: ages.heldMs + passedMs };
}

/** The same after a commit, when everything before `next` is durable and the server has `ackedTo`. */
export function agesAfter(ages: Ages, next: PerStream<number>, ackedTo: PerStream<number>, maxAgeMs: number): Ages {
  const marks = perStream((stream) => {
    const open = ages.marks[stream].filter(({ upTo }) => upTo > ackedTo[stream]);
    const upTo = next[stream] - 1;
    const more = upTo > ackedTo[stream] && upTo > (open.at(-1)?.upTo ?? 0);
    return more ? addMark(open, { atMs: ages.heldMs, upTo }, maxAgeMs) : open;
  });
  return { ...ages, marks };
}

/** Up to which seq of each stream records are over an age; it may be found a thirty-second part later. */
export function overAge(ages: Ages, maxAgeMs: number): PerStream<number> {
  return perStream((stream) => dueMarks(ages.marks[stream], ages.heldMs, maxAgeMs).upTo);
}

/** The marks of streams that are numbered anew, as `renumbered` translates a seq. */
export function renumberAges(ages: Ages, marks: PerStream<readonly number[]>): Ages {
  const moved = perStream((stream) =>
    ages.marks[stream].flatMap(({ atMs }, place) => {
      const upTo = marks[stream][place] ?? 0;
      return upTo > 0 ? [{ atMs, upTo }] : [];
    }),
  );
  return { ...ages, marks: moved };
}

/** Ages as a file has them; undefined where they make no sense. */
export function readAges(text: string | undefined): Ages | undefined {
  try {
    const read = JSON.parse(text ?? "null") as Ages | null;
    const sound = (value: unknown) => Number.isFinite(value) && (value as number) >= 0;
    const ascends = (marks: unknown) =>
      Array.isArray(marks) && marks.every(({ atMs, upTo }: Mark) => sound(atMs) && sound(upTo));
    if (read === null || typeof read.bootId !== "string" || !sound(read.monoMs) || !sound(read.heldMs))
      return undefined;
    return STREAMS.every((stream) => ascends(read.marks?.[stream])) ? read : undefined;
  } catch (cause) {
    if (cause instanceof SyntaxError || cause instanceof TypeError) return undefined;
    throw cause;
  }
}
