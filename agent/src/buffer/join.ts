import { decodeBatch, encodeChunks, type ResolutionOf } from "@bellwether/protocol/batch.ts";
import type { StreamBatch } from "@bellwether/protocol/messages/stream.ts";
import type { OutboxChunk } from "./outbox.ts";

/** What a message and its columns cost besides their rows is little beside this. */
export const JOINED_BYTES = 8_192;

/**
 * Puts chunks of a stream that follow each other into one where they are short: what is committed four times a second
 * makes many small batches, and a batch of a hundred rows takes half the bytes a row of one of ten. The records and
 * their seq are the same; a server that has some of them already takes the rest.
 */
export function joinChunks(chunks: readonly OutboxChunk[], resolutionOf?: ResolutionOf): OutboxChunk[] {
  const runs: OutboxChunk[][] = [];
  const open = new Map<string, { readonly run: OutboxChunk[]; bytes: number }>();
  for (const chunk of chunks) {
    const before = open.get(chunk.stream);
    const { length } = chunk.bytes;
    const follows = before?.run.at(-1)?.toSeq === chunk.fromSeq - 1;
    if (before && follows && before.bytes + length <= JOINED_BYTES) {
      before.run.push(chunk);
      before.bytes += length;
      continue;
    }
    const run = [chunk];
    runs.push(run);
    open.set(chunk.stream, { run, bytes: length });
  }
  return runs.flatMap((run) => (run.length === 1 ? run : (joined(run, resolutionOf) ?? run)));
}

/** One chunk of several; undefined where they do not say the same of their records, or one cannot be read. */
function joined(run: readonly OutboxChunk[], resolutionOf?: ResolutionOf): OutboxChunk | undefined {
  const batches: StreamBatch[] = [];
  for (const { stream, bytes } of run) {
    const decoded = decodeBatch(stream, bytes);
    if (!decoded.ok || decoded.value.gap !== undefined) return undefined;
    batches.push(decoded.value as StreamBatch);
  }
  const [first, last] = [batches[0] as StreamBatch, batches.at(-1) as StreamBatch];
  const same = batches.every(({ hist, clock }) => hist === first.hist && clock.bootId === first.clock.bootId);
  if (!same) return undefined;
  const records = batches.flatMap((batch) => batch.records as never[]);
  // What is short as it travels may be long when it is unpacked: then it stays in several.
  const [whole, ...more] = encodeChunks({ ...last, fromSeq: first.fromSeq, records } as StreamBatch, resolutionOf);
  if (whole === undefined || more.length > 0) return undefined;
  return { stream: first.stream, fromSeq: whole.fromSeq, toSeq: whole.toSeq, bytes: whole.bytes };
}
