import { decodeBatch } from "@bellwether/protocol/batch.ts";
import {
  type AckMessage,
  type ClockReading,
  STREAMS,
  type Stream,
  type StreamBatch,
} from "@bellwether/protocol/messages/stream.ts";
import { unwrap } from "@bellwether/protocol/result.ts";
import type { Outbox, OutboxChunk, OutboxOptions } from "../../agent/src/buffer/outbox.ts";

/** A clock that a test sets. */
export function testClock(startMs = 1_790_000_000_000): (() => ClockReading) & { advance(ms: number): void } {
  let nowMs = startMs;
  const clock = () => ({ bootId: "boot-1", monoMs: nowMs - startMs, wallMs: nowMs, clockSynced: true });
  const advance = (ms: number) => {
    nowMs += ms;
  };
  return Object.assign(clock, { advance });
}

/** The machine's own clocks. */
export const realClock = (): ClockReading => ({
  bootId: "boot-1",
  monoMs: performance.now(),
  wallMs: Date.now(),
  clockSynced: true,
});

/** Options of an outbox that commits only when it is told to. */
export function outboxOptions(change: Partial<OutboxOptions> = {}): OutboxOptions {
  return {
    maxBytes: 64 * 1024 * 1024,
    maxAgeMs: 1e12,
    commitMs: 3_600_000,
    keepAckedMs: 0,
    backfillBytesPerSecond: 1e9,
    clock: testClock(),
    ...change,
  };
}

/** Everything the outbox gives, as a server would read it. */
export function drain(outbox: Outbox, maxBytes = 1e9): StreamBatch[] {
  const batches: StreamBatch[] = [];
  for (;;) {
    const chunks = outbox.nextChunks(maxBytes);
    if (chunks.length === 0) return batches;
    batches.push(...chunks.map(read));
  }
}

/** One chunk, decoded, its outside held against its inside. */
export function read(chunk: OutboxChunk): StreamBatch {
  const batch = unwrap(decodeBatch(chunk.stream, chunk.bytes));
  const count = batch.gap?.count ?? batch.records.length;
  if (batch.fromSeq !== chunk.fromSeq || chunk.toSeq !== chunk.fromSeq + count - 1) {
    throw new Error(
      `chunk ${chunk.stream} ${chunk.fromSeq}-${chunk.toSeq} holds ${batch.fromSeq} and ${count} records`,
    );
  }
  return batch;
}

/** The acknowledgement of everything up to a seq, in some streams. */
export function ackOf(epoch: string, upTo: Partial<Record<Stream, number>>): AckMessage {
  const streams = Object.fromEntries(
    STREAMS.filter((stream) => upTo[stream] !== undefined).map((stream) => [
      stream,
      { epoch, upTo: upTo[stream] as number, also: [] },
    ]),
  );
  return { v: 1, streams };
}

/**
 * A model of the server's memory of one device: takes batches in any order, any number of times, and knows what is
 * missing. Throws when one seq names two records.
 */
export class ServerMemory {
  readonly streams = new Map<string, Map<number, string>>();

  take(batch: StreamBatch): void {
    const key = `${batch.epoch}/${batch.stream}`;
    const stored = this.streams.get(key) ?? new Map<number, string>();
    this.streams.set(key, stored);
    const count = batch.gap?.count ?? batch.records.length;
    for (let index = 0; index < count; index++) {
      const seq = batch.fromSeq + index;
      const text = batch.gap === undefined ? JSON.stringify(batch.records[index]) : "gap";
      const before = stored.get(seq);
      if (before !== undefined && before !== "gap" && text !== "gap" && before !== text) {
        throw new Error(`${key} ${seq} names two records: ${before} and ${text}`);
      }
      if (before === undefined) stored.set(seq, text);
    }
  }

  /** What an ack would say: the unbroken prefix of each stream, and what there is beyond it. */
  ack(epoch: string): AckMessage {
    const streams = STREAMS.map((stream) => {
      const upTo = this.prefix(epoch, stream);
      const stored = this.streams.get(`${epoch}/${stream}`);
      const beyond = [...(stored?.keys() ?? [])].filter((seq) => seq > upTo).sort((a, b) => a - b);
      const also: [number, number][] = [];
      for (const seq of beyond) {
        const last = also.at(-1);
        if (last !== undefined && last[1] === seq - 1) last[1] = seq;
        else also.push([seq, seq]);
      }
      return [stream, { epoch, upTo, also }] as const;
    });
    return { v: 1, streams: Object.fromEntries(streams) };
  }

  prefix(epoch: string, stream: Stream): number {
    const stored = this.streams.get(`${epoch}/${stream}`);
    let upTo = 0;
    while (stored?.has(upTo + 1)) upTo++;
    return upTo;
  }

  /** The records of a stream in the order of seq; gaps as the word "gap". */
  records(epoch: string, stream: Stream): unknown[] {
    const stored = [...(this.streams.get(`${epoch}/${stream}`) ?? [])].sort(([a], [b]) => a - b);
    return stored.map(([, text]) => (text === "gap" ? "gap" : JSON.parse(text)));
  }
}
