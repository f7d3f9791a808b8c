import { isScannable } from "@bellwether/protocol/batch-view.ts";
import type { Stream } from "@bellwether/protocol/messages/stream.ts";
import { ScanTape } from "@bellwether/protocol/scan-tape.ts";
import { TelemetryScanner } from "@bellwether/protocol/telemetry-scan.ts";
import type { GroupMemory, IncomingBatch, MessageGroup, MessageSource } from "../store/ingest.ts";

/**
 * Messages and bytes committed in one transaction at most. Were it all that is on its way, nothing could be read while it is
 * committed, and the threads would take turns.
 */
export const GROUP_MESSAGES_MAX = 768;
export const GROUP_BYTES_MAX = 4_194_304;
const FIRST_BYTES = 1_024;
const FIRST_MESSAGES = 16;

type Column = Uint32Array<ArrayBuffer> | Int32Array<ArrayBuffer> | Float64Array<ArrayBuffer>;

/**
 * Lays messages down beside each other as they come, and reads telemetry on the way: a group is ready for the store without
 * another pass, and the thread that writes has that much less to do.
 */
export class MessageGroupDraft {
  readonly #sources: MessageSource[] = [];
  readonly #places = new Map<string, Map<Stream, number>>();
  #usual = 0;
  #sourceOf: Uint32Array<ArrayBuffer>;
  #ends: Uint32Array<ArrayBuffer>;
  #receivedAtMs: Float64Array<ArrayBuffer>;
  #tapeAt: Int32Array<ArrayBuffer>;
  readonly #tape: ScanTape;
  readonly #scanner: TelemetryScanner;
  #bytes: Buffer<ArrayBuffer>;
  #end = 0;
  #length = 0;

  /** `memory` is what it is laid down in first: what another group was in, where there is such. */
  constructor(scanner: TelemetryScanner, memory?: GroupMemory) {
    this.#scanner = scanner;
    this.#bytes = Buffer.from(memory?.bytes ?? new ArrayBuffer(FIRST_BYTES));
    this.#tape = new ScanTape(memory?.words);
    // Where groups follow each other this one will be as long as they.
    const messages = memory === undefined ? FIRST_MESSAGES : GROUP_MESSAGES_MAX;
    this.#sourceOf = new Uint32Array(messages);
    this.#ends = new Uint32Array(messages);
    this.#receivedAtMs = new Float64Array(messages);
    this.#tapeAt = new Int32Array(messages);
  }

  get length(): number {
    return this.#length;
  }

  /** Whether it holds as much as a group may. */
  get isFull(): boolean {
    return this.length >= GROUP_MESSAGES_MAX || this.#end >= GROUP_BYTES_MAX;
  }

  /** Adds a message, of which it keeps a copy. */
  add(device: string, site: string, stream: Stream, bytes: Uint8Array, receivedAtMs: number): void {
    const end = this.#end + bytes.length;
    if (end > this.#bytes.length) this.#grow(end);
    const from = this.#end;
    this.#bytes.set(bytes, from);
    this.#end = end;
    const scanned = isScannable(stream, bytes, 0, bytes.length)
      ? this.#scanner.scan(this.#tape, this.#bytes, from, end)
      : undefined;
    const index = this.#length++;
    if (index === this.#ends.length) this.#growColumns();
    this.#tapeAt[index] = scanned ?? -1;
    this.#sourceOf[index] = this.#placeOf(device, site, stream);
    this.#ends[index] = end;
    this.#receivedAtMs[index] = receivedAtMs;
  }

  #growColumns(): void {
    const longer = <T extends Column>(column: T, into: T): T => {
      into.set(column);
      return into;
    };
    const length = 2 * this.#ends.length;
    this.#sourceOf = longer(this.#sourceOf, new Uint32Array(length));
    this.#ends = longer(this.#ends, new Uint32Array(length));
    this.#receivedAtMs = longer(this.#receivedAtMs, new Float64Array(length));
    this.#tapeAt = longer(this.#tapeAt, new Int32Array(length));
  }

  #placeOf(device: string, site: string, stream: Stream): number {
    // What was read at once is nearly always of one device and stream.
    const usual = this.#sources[this.#usual];
    if (usual?.device === device && usual.stream === stream) return this.#usual;
    this.#usual = this.#findPlace(device, site, stream);
    return this.#usual;
  }

  #findPlace(device: string, site: string, stream: Stream): number {
    let streams = this.#places.get(device);
    if (streams === undefined) {
      streams = new Map();
      this.#places.set(device, streams);
    }
    const known = streams.get(stream);
    if (known !== undefined) return known;
    const place = this.#sources.push({ device, site, stream }) - 1;
    streams.set(stream, place);
    return place;
  }

  #grow(least: number): void {
    // Moved and not copied: what was outgrown is free at once, however late the collector comes.
    this.#bytes = Buffer.from(this.#bytes.buffer.transfer(Math.max(least, 2 * this.#bytes.length)));
  }

  /** The group; nothing may be added after. */
  finish(): MessageGroup {
    return {
      sources: this.#sources,
      sourceOf: this.#sourceOf.subarray(0, this.#length),
      ends: this.#ends.subarray(0, this.#length),
      receivedAtMs: this.#receivedAtMs.subarray(0, this.#length),
      bytes: this.#bytes.subarray(0, this.#end),
      tape: { words: this.#tape.words, texts: this.#tape.texts },
      tapeAt: this.#tapeAt.subarray(0, this.#length),
    };
  }
}

/** A group of messages that lie apart. */
export function groupOf(batches: readonly IncomingBatch[]): MessageGroup {
  const draft = new MessageGroupDraft(new TelemetryScanner());
  for (const { device, site, stream, bytes, receivedAtMs } of batches) {
    draft.add(device, site, stream, bytes, receivedAtMs);
  }
  return draft.finish();
}

/** The message at a place of a group. */
export function messageAt(
  { sources, sourceOf, ends, receivedAtMs, bytes }: MessageGroup,
  index: number,
): IncomingBatch {
  const from = index === 0 ? 0 : (ends[index - 1] as number);
  return {
    ...(sources[sourceOf[index] as number] as MessageSource),
    bytes: bytes.subarray(from, ends[index]),
    receivedAtMs: receivedAtMs[index] as number,
  };
}
