import { RETAINED, type Retained, type SweepPlace } from "../store/retention.ts";
import type { Store } from "../store/store.ts";
import { type MinuteTable, piecesOf } from "./minute-table.ts";

/** How long each class is kept, in days; 0 is for ever. */
export type RetentionDays = Readonly<Record<Retained, number>>;

/** Keeps the figures of channels up with what is committed, and deletes what is too old. */
export interface Upkeep {
  /** Records deleted since the start, by class. */
  deleted(): Readonly<Record<Retained, number>>;
  stop(): Promise<void>;
}

export interface UpkeepPorts {
  readonly store: Pick<Store, "series" | "retention">;
  readonly days: RetentionDays;
  /** Messages that wait for their commit: while there are any, the work goes on in single steps. */
  ingestWaiting(): number;
  now(): number;
  report(problem: string, detail: unknown): void;
}

const DAY_MS = 86_400_000;
/** How long it waits where nothing was left to do; an old day more or less makes no hurry. */
const ROLLUP_EVERY_MS = 1_000;
const SWEEP_EVERY_MS = 600_000;
/** The pause between two slices: ingest goes first. */
const PAUSE_MS = 5;
const BUSY_PAUSE_MS = 250;
/** Minutes lie open for this long after their day, so that what comes a little late is packed with them. */
const PACKED_AFTER_MS = 6 * 3_600_000;
/** Whatever its corrected time, a record stays this long after its commit. */
const STAYS_MS = 7 * DAY_MS;

/** Starts the work in the background: each step is a short command of the store's writer, between those of ingest. */
export function startUpkeep(ports: UpkeepPorts): Upkeep {
  const { store, days } = ports;
  const deleted = Object.fromEntries(RETAINED.map((name) => [name, 0])) as Record<Retained, number>;
  const stopped = Promise.withResolvers<void>();
  let stopping = false;

  const wait = (ms: number) =>
    new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, ms);
      void stopped.promise.then(() => {
        clearTimeout(timer);
        resolve();
      });
    });
  const pause = () => wait(ports.ingestWaiting() > 0 ? BUSY_PAUSE_MS : PAUSE_MS);

  async function rollUp(): Promise<void> {
    while (!stopping) {
      const found = await store.series.pending({});
      if (!found) return;
      const pieces = piecesOf(found.minutes);
      for (let piece = found.slice.done; piece < pieces.length && !stopping; piece++) {
        const last = piece === pieces.length - 1;
        const minutes = pieces[piece] as MinuteTable;
        if (!(await store.series.keep({ slice: { ...found.slice, done: piece }, minutes, last }))) break;
        await pause();
      }
    }
  }

  async function pack(): Promise<void> {
    for (let fromGroup: number | undefined = 0; fromGroup !== undefined && !stopping; ) {
      const { next }: { next?: number } = await store.series.pack({
        beforeMs: ports.now() - PACKED_AFTER_MS,
        fromGroup,
      });
      fromGroup = next;
      await pause();
    }
  }

  async function sweep(retained: Retained): Promise<void> {
    if (days[retained] === 0) return;
    const nowMs = ports.now();
    const ages = { beforeMs: nowMs - days[retained] * DAY_MS, committedBeforeMs: nowMs - STAYS_MS };
    for (let after: SweepPlace | undefined; !stopping; ) {
      const slice: { deleted: number; next?: SweepPlace } = await store.retention.sweep({
        retained,
        ...ages,
        ...(after ? { after } : {}),
      });
      deleted[retained] += slice.deleted;
      after = slice.next;
      if (after === undefined) return;
      await pause();
    }
  }

  async function tidy(): Promise<void> {
    await pack();
    for (const retained of RETAINED) await sweep(retained);
    while (!stopping && (await store.retention.giveBack({}))) await pause();
  }

  async function repeat(work: () => Promise<void>, everyMs: number): Promise<void> {
    while (!stopping) {
      try {
        await work();
      } catch (cause) {
        if (!stopping) ports.report("upkeep", cause);
      }
      await wait(everyMs);
    }
  }

  const running = Promise.all([repeat(rollUp, ROLLUP_EVERY_MS), repeat(tidy, SWEEP_EVERY_MS)]);
  return {
    deleted: () => deleted,
    async stop() {
      stopping = true;
      stopped.resolve();
      await running;
    },
  };
}
