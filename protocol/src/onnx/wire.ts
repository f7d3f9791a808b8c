// The protobuf wire format (protobuf.dev/programming-guides/encoding), the reading half. Groups do not occur in ONNX.

export const VARINT = 0;
export const FIXED64 = 1;
export const BYTES = 2;
export const FIXED32 = 5;

/** The bytes are no protobuf message, or end too early. Stays inside this folder: readers turn it into a result. */
export class WireError extends Error {}

/**
 * Walks over the fields of one message without copying. Every read stays inside the message; a length that points
 * outside it ends the walk. After `next()` the field's value must be taken or skipped.
 */
export class MessageReader {
  readonly #bytes: Buffer;
  #at: number;
  readonly #end: number;
  /** Number of the current field. */
  field = 0;
  /** Wire type of the current field. */
  wire = 0;

  constructor(bytes: Buffer, start = 0, end = bytes.length) {
    this.#bytes = bytes;
    this.#at = start;
    this.#end = end;
  }

  /** Bytes left in this message. */
  get left(): number {
    return this.#end - this.#at;
  }

  /** Goes to the next field; false at the end of the message. */
  next(): boolean {
    if (this.#at >= this.#end) return false;
    const key = this.#varint();
    this.wire = Number(key & 7n);
    this.field = Number(key >> 3n);
    if (this.field < 1 || this.field > 0x1fffffff) throw new WireError(`field number ${this.field}`);
    return true;
  }

  /** The current field as a whole number; those beyond 2^53 lose their last digits. */
  integer(): number {
    this.#expect(VARINT);
    return Number(BigInt.asIntN(64, this.#varint()));
  }

  /** The current field as a message of its own. */
  message(): MessageReader {
    const [start, end] = this.#span();
    return new MessageReader(this.#bytes, start, end);
  }

  /** The current field as text of at most `max` bytes; more is an error. */
  text(max: number): string {
    const [start, end] = this.#span();
    if (end - start > max) throw new WireError(`a text of ${end - start} bytes, more than ${max}`);
    return this.#bytes.toString("utf8", start, end);
  }

  /** How many bytes the current field's value has; the value is skipped. */
  size(): number {
    const [start, end] = this.#span();
    return end - start;
  }

  /** The current field as whole numbers, packed or not: appended to `into`, at most `max` in all. */
  integers(into: number[], max: number): void {
    if (this.wire === VARINT) {
      into.push(this.integer());
    } else {
      const packed = this.message();
      while (packed.left > 0 && into.length <= max) into.push(Number(BigInt.asIntN(64, packed.#varint())));
    }
    if (into.length > max) throw new WireError(`more than ${max} numbers in one field`);
  }

  /** Passes over the current field. */
  skip(): void {
    if (this.wire === VARINT) this.#varint();
    else if (this.wire === BYTES) this.#span();
    else if (this.wire === FIXED32) this.#forward(4);
    else if (this.wire === FIXED64) this.#forward(8);
    else throw new WireError(`wire type ${this.wire}`);
  }

  #expect(wire: number): void {
    if (this.wire !== wire) throw new WireError(`field ${this.field} has wire type ${this.wire}, not ${wire}`);
  }

  #span(): [number, number] {
    this.#expect(BYTES);
    const length = this.#varint();
    if (length > BigInt(this.left)) throw new WireError(`${length} bytes are announced, ${this.left} are left`);
    const start = this.#at;
    this.#at += Number(length);
    return [start, this.#at];
  }

  #forward(count: number): void {
    if (this.left < count) throw new WireError(`${count} bytes are announced, ${this.left} are left`);
    this.#at += count;
  }

  #varint(): bigint {
    let low = 0;
    // Seven bits per byte; the first four fit a small number, which is nearly always all there is.
    for (let shift = 0; shift < 28; shift += 7) {
      const byte = this.#byte();
      low |= (byte & 0x7f) << shift;
      if (byte < 0x80) return BigInt(low);
    }
    let value = BigInt(low);
    for (let shift = 28n; shift < 70n; shift += 7n) {
      const byte = this.#byte();
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return BigInt.asUintN(64, value);
    }
    throw new WireError("a number of more than ten bytes");
  }

  #byte(): number {
    if (this.#at >= this.#end) throw new WireError("the message ends inside a number");
    return this.#bytes[this.#at++]!;
  }
}
