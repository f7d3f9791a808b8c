import {
  type EventRecord,
  STREAMS,
  type Stream,
  type StreamRecords,
  type TelemetryRow,
} from "@bellwether/protocol/messages/stream.ts";
import { GIVING_WAY } from "./eviction.ts";
import type { JsonValue } from "./outbox.ts";

/** Records of one stream that are taken but not durable. `shed` counts those before them that gave way. */
export interface PendingStream {
  shed: number;
  records: StreamRecords[Stream][];
  cells: number;
}

/** How many records of each stream a commit tried to store, shed ones included. */
export type PendingCounts = Readonly<Record<Stream, number>>;

/** What a record costs in memory, in values: a row of 24 channels costs about 24 times what one value does. */
export function cellsOf(stream: Stream, record: StreamRecords[Stream]): number {
  if (stream === "event") return 32 + ((record as EventRecord).text.length >> 3);
  if (stream !== "telemetry") return 32;
  let cells = 4;
  for (const _ in (record as TelemetryRow).values) cells++;
  return cells;
}

/** Records and cursors between two commits, bounded: what does not fit gives way, lowest class and oldest first. */
export class Pending {
  readonly streams: Readonly<Record<Stream, PendingStream>>;
  readonly cursors = new Map<string, JsonValue>();
  cells = 0;

  constructor() {
    const empty = (): PendingStream => ({ shed: 0, records: [], cells: 0 });
    this.streams = { event: empty(), drift: empty(), inference: empty(), telemetry: empty(), samples: empty() };
  }

  get isEmpty(): boolean {
    return this.cursors.size === 0 && this.count === 0;
  }

  /** Records that wait, those that were shed not counted. */
  get records(): number {
    return STREAMS.reduce((sum, stream) => sum + this.streams[stream].records.length, 0);
  }

  private get count(): number {
    return STREAMS.reduce((sum, stream) => sum + this.streams[stream].shed, this.records);
  }

  add(stream: Stream, record: StreamRecords[Stream]): void {
    const cells = cellsOf(stream, record);
    const pending = this.streams[stream];
    pending.records.push(record);
    pending.cells += cells;
    this.cells += cells;
  }

  /** Drops records until at most `cellsMax` are left; answers how many. They leave a gap when the next commit works. */
  shedTo(cellsMax: number): number {
    let dropped = 0;
    for (const stream of GIVING_WAY) {
      const pending = this.streams[stream];
      let count = 0;
      while (this.cells > cellsMax && count < pending.records.length) {
        const cells = cellsOf(stream, pending.records[count] as StreamRecords[Stream]);
        pending.cells -= cells;
        this.cells -= cells;
        count++;
      }
      if (count === 0) continue;
      pending.records = pending.records.slice(count);
      pending.shed += count;
      dropped += count;
    }
    return dropped;
  }

  counts(): PendingCounts {
    const count = (stream: Stream) => this.streams[stream].shed + this.streams[stream].records.length;
    return Object.fromEntries(STREAMS.map((stream) => [stream, count(stream)])) as Record<Stream, number>;
  }

  /** Forgets the oldest records of each stream: a commit that seemed to fail had stored them after all. */
  forget(counts: PendingCounts): void {
    for (const stream of STREAMS) {
      const pending = this.streams[stream];
      const shed = Math.min(pending.shed, counts[stream]);
      pending.shed -= shed;
      const stored = pending.records.slice(0, counts[stream] - shed);
      pending.records = pending.records.slice(counts[stream] - shed);
      const cells = stored.reduce((sum, record) => sum + cellsOf(stream, record), 0);
      pending.cells -= cells;
      this.cells -= cells;
    }
  }
}
