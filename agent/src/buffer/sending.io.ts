import { BATCH_BYTES_MAX, decodeBatch, encodeBatch } from "@bellwether/protocol/batch.ts";
import { STREAMS, type Stream } from "@bellwether/protocol/messages/stream.ts";
import type { StreamKnowledge } from "./acknowledgement.ts";
import { isAlsoAcked, remainder } from "./eviction.ts";
import { encodeDownsampled, encodeGap } from "./gap.ts";
import { type Lane, laneOf } from "./lanes.ts";
import type { OutboxChunk } from "./outbox.ts";
import type { HeldChunk, OutboxFile } from "./outbox-file.io.ts";
import { type PerStream, perStream } from "./per-stream.ts";
import { type BufferContext, shrinkGap } from "./room.io.ts";

/** Chunks of a stream looked at in one step. */
const WINDOW = 32;
/** A chunk that is encoded again under another epoch and seq may be a little longer than it was. */
const REENCODED_BYTES_MAX = BATCH_BYTES_MAX + 1_000;

/** The next chunks of each stream in a lane, in order, as they may be sent; and how many records turned out unreadable. */
export function waitingChunks(
  file: OutboxFile,
  context: BufferContext,
  lane: Lane,
): { readonly waiting: PerStream<HeldChunk[]>; readonly unreadable: PerStream<number> } {
  const waiting = perStream((stream) => waitingOf(file, stream, context.known[stream], lane));
  const unreadable = perStream(() => 0);
  const work = STREAMS.flatMap((stream) =>
    waiting[stream].flatMap((chunk) => refreshing(file, context, stream, chunk, unreadable)),
  );
  if (work.length === 0) return { waiting, unreadable };
  // What is sent must be what is stored: the same bytes again after a restart.
  file.transaction(() => {
    for (const step of work) step();
  });
  return { waiting: perStream((stream) => waitingOf(file, stream, context.known[stream], lane)), unreadable };
}

function waitingOf(file: OutboxFile, stream: Stream, known: StreamKnowledge, lane: Lane): HeldChunk[] {
  const place = laneOf(known, lane);
  if (place === undefined) return [];
  const { fromSeq: first, toSeq: newest } = place.from;
  for (let { after } = place; after < known.next - 1; ) {
    const held = file.heldAfter(stream, after, WINDOW);
    const waiting = held.filter(
      ({ fromSeq, toSeq }) => first <= fromSeq && fromSeq <= newest && !isAlsoAcked(fromSeq, toSeq, known.also),
    );
    const last = held.at(-1);
    if (waiting.length > 0 || last === undefined || last.fromSeq > newest) return waiting;
    after = last.toSeq;
  }
  return [];
}

/** The bytes of a chunk that `waitingChunks` gave. */
export function chunkToSend(file: OutboxFile, context: BufferContext, stream: Stream, chunk: HeldChunk): OutboxChunk {
  const { fromSeq, toSeq, kind } = chunk;
  const stored = file.body(stream, fromSeq);
  return { stream, fromSeq, toSeq, bytes: bytesToSend[kind](stored, context, stream, chunk) };
}

type ToSend = (stored: Uint8Array, context: BufferContext, stream: Stream, chunk: HeldChunk) => Uint8Array;
const bytesToSend: Readonly<Record<HeldChunk["kind"], ToSend>> = {
  records: (stored) => stored,
  gap: (stored, { epoch }, stream, chunk) => encodeGap(stream, epoch, chunk, stored),
  downsampled: (stored, { epoch, resolutionOf }, _, chunk) => encodeDownsampled(epoch, chunk, stored, resolutionOf),
};

/** What must be done to a chunk first: a new epoch made it stale, or the server has part of the gap after all. */
function refreshing(
  file: OutboxFile,
  context: BufferContext,
  stream: Stream,
  chunk: HeldChunk,
  unreadable: PerStream<number>,
): (() => void)[] {
  const known = context.known[stream];
  if (chunk.stale) {
    return [
      () => {
        if (!reencode(file, context, stream, chunk)) unreadable[stream] += chunk.toSeq - chunk.fromSeq + 1;
      },
    ];
  }
  if (chunk.kind === "records") return [];
  const [only, ...more] = remainder(chunk, known.ackedTo, known.also);
  const whole = more.length === 0 && only?.fromSeq === chunk.fromSeq && only.toSeq === chunk.toSeq;
  return whole ? [] : [() => shrinkGap(file, context, stream, chunk)];
}

/** False when the stored bytes cannot be read: a gap then stands in their place. */
function reencode(file: OutboxFile, context: BufferContext, stream: Stream, chunk: HeldChunk): boolean {
  const decoded = decodeBatch(stream, file.body(stream, chunk.fromSeq));
  const readable = decoded.ok && decoded.value.records.length === chunk.toSeq - chunk.fromSeq + 1;
  const bytes = readable
    ? encodeBatch({ ...decoded.value, epoch: context.epoch, fromSeq: chunk.fromSeq }, context.resolutionOf)
    : undefined;
  if (bytes !== undefined && bytes.length <= REENCODED_BYTES_MAX) {
    file.reencoded(stream, chunk.fromSeq, bytes);
    return true;
  }
  file.remove(stream, chunk);
  file.insert(stream, chunk, context.gapBodyOf("unreadable"), "gap");
  return false;
}
