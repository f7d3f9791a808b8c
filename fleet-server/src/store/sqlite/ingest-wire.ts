import type { Stream, StreamAck } from "@bellwether/protocol/messages/stream.ts";
import type { CommittedBatch, IncomingBatch, IngestOutcome } from "../ingest.ts";
import type { Wire } from "./command.ts";

/*
 * A group of messages and its answer between two threads, as a few long arrays: cloned as they are, thousands of small objects
 * cost each thread as much as storing them.
 */

interface Group {
  readonly batches: readonly IncomingBatch[];
  readonly withRecords: boolean;
}

interface PackedGroup {
  readonly withRecords: boolean;
  /** Different texts of the group; device, site and stream of each message are places in it. */
  readonly texts: readonly string[];
  readonly names: Uint32Array;
  readonly lengths: Uint32Array;
  readonly receivedAtMs: Float64Array;
  readonly bytes: Uint8Array<ArrayBuffer>;
}

const OUTCOMES: readonly IngestOutcome[] = ["committed", "duplicate", "poison", "conflict", "deferred"];

interface PackedAnswer {
  readonly outcomes: Uint8Array;
  readonly hist: Uint8Array;
  readonly offsetsMs: Float64Array;
  /** Epochs of the acknowledgements; 0 in `epochOf` is none at all, n is the epoch at n - 1. */
  readonly epochs: readonly string[];
  readonly epochOf: Uint32Array;
  readonly upTo: Float64Array;
  /** Ranges beyond the prefix, where there are any. */
  readonly also: readonly (readonly [index: number, also: StreamAck["also"]])[];
  readonly records?: readonly (readonly unknown[])[];
}

/** Places of texts in a list in which each stands once. */
class Texts {
  readonly list: string[] = [];
  readonly #places = new Map<string, number>();
  place(text: string): number {
    let place = this.#places.get(text);
    if (place === undefined) {
      place = this.list.push(text) - 1;
      this.#places.set(text, place);
    }
    return place;
  }
}

function packGroup({ batches, withRecords }: Group): { packed: PackedGroup; transfer: ArrayBuffer[] } {
  const texts = new Texts();
  const names = new Uint32Array(3 * batches.length);
  const lengths = new Uint32Array(batches.length);
  const receivedAtMs = new Float64Array(batches.length);
  const bytes = new Uint8Array(batches.reduce((sum, batch) => sum + batch.bytes.byteLength, 0));
  let at = 0;
  for (let i = 0; i < batches.length; i++) {
    const batch = batches[i] as IncomingBatch;
    names[3 * i] = texts.place(batch.device);
    names[3 * i + 1] = texts.place(batch.site);
    names[3 * i + 2] = texts.place(batch.stream);
    lengths[i] = batch.bytes.byteLength;
    receivedAtMs[i] = batch.receivedAtMs;
    bytes.set(batch.bytes, at);
    at += batch.bytes.byteLength;
  }
  const packed = { withRecords, texts: texts.list, names, lengths, receivedAtMs, bytes };
  return { packed, transfer: [bytes.buffer] };
}

function unpackGroup({ withRecords, texts, names, lengths, receivedAtMs, bytes }: PackedGroup): Group {
  const text = (place: number) => texts[names[place] as number] as string;
  let at = 0;
  const batches = Array.from(lengths, (length, i): IncomingBatch => {
    at += length;
    return {
      device: text(3 * i),
      site: text(3 * i + 1),
      stream: text(3 * i + 2) as Stream,
      bytes: bytes.subarray(at - length, at),
      receivedAtMs: receivedAtMs[i] as number,
    };
  });
  return { withRecords, batches };
}

function packAnswer(answer: readonly CommittedBatch[]): PackedAnswer {
  const epochs = new Texts();
  const { length } = answer;
  const [outcomes, hist, epochOf] = [new Uint8Array(length), new Uint8Array(length), new Uint32Array(length)];
  const [offsetsMs, upTo] = [new Float64Array(length), new Float64Array(length)];
  const also: [number, StreamAck["also"]][] = [];
  let records = false;
  for (let i = 0; i < length; i++) {
    const one = answer[i] as CommittedBatch;
    outcomes[i] = OUTCOMES.indexOf(one.outcome);
    hist[i] = one.hist ? 1 : 0;
    offsetsMs[i] = one.offsetMs;
    records ||= one.records.length > 0;
    if (one.ack === undefined) continue;
    epochOf[i] = 1 + epochs.place(one.ack.epoch);
    upTo[i] = one.ack.upTo;
    if (one.ack.also.length > 0) also.push([i, one.ack.also]);
  }
  const packed = { outcomes, hist, offsetsMs, epochs: epochs.list, epochOf, upTo, also };
  return records ? { ...packed, records: answer.map((one) => one.records) } : packed;
}

function unpackAnswer({ batches }: Group, packed: PackedAnswer): CommittedBatch[] {
  const also = new Map(packed.also);
  return batches.map(({ device, site, stream }, i): CommittedBatch => {
    const epoch = packed.epochs[(packed.epochOf[i] as number) - 1];
    return {
      device,
      site,
      stream,
      outcome: OUTCOMES[packed.outcomes[i] as number] as IngestOutcome,
      hist: packed.hist[i] === 1,
      offsetMs: packed.offsetsMs[i] as number,
      records: packed.records?.[i] ?? [],
      ...(epoch === undefined ? {} : { ack: { epoch, upTo: packed.upTo[i] as number, also: also.get(i) ?? [] } }),
    };
  });
}

/** How `ingest.commit` travels. */
export const ingestWire: Wire<Group, CommittedBatch[], PackedGroup, PackedAnswer> = {
  packArgs: packGroup,
  unpackArgs: unpackGroup,
  packAnswer,
  unpackAnswer,
};
