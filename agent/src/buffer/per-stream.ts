import { STREAMS, type Stream } from "@bellwether/protocol/messages/stream.ts";

/** One of something for each stream. */
export type PerStream<T> = Record<Stream, T>;

export function perStream<T>(of: (stream: Stream) => T): PerStream<T> {
  return Object.fromEntries(STREAMS.map((stream) => [stream, of(stream)])) as PerStream<T>;
}

export function total(counts: PerStream<number>): number {
  return STREAMS.reduce((sum, stream) => sum + counts[stream], 0);
}
