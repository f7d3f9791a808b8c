// The protobuf wire format (protobuf.dev/programming-guides/encoding), the writing half: what ONNX files are made of.

const VARINT = 0;
const BYTES = 2;
const FIXED32 = 5;

/** Writes one protobuf message, field by field, into a buffer that grows. */
export class MessageWriter {
  #bytes = new Uint8Array(256);
  #length = 0;

  /** A copy of what was written. */
  finish(): Uint8Array {
    return this.#bytes.slice(0, this.#length);
  }

  /** A whole number; negative ones take ten bytes, as protobuf's int64 does. */
  integer(field: number, value: number): this {
    this.#varint(field * 8 + VARINT);
    this.#varint(value);
    return this;
  }

  float(field: number, value: number): this {
    this.#varint(field * 8 + FIXED32);
    this.#room(4);
    new DataView(this.#bytes.buffer).setFloat32(this.#length, value, true);
    this.#length += 4;
    return this;
  }

  /** Text in UTF-8. */
  text(field: number, value: string): this {
    return this.bytes(field, new TextEncoder().encode(value));
  }

  /** Raw bytes, or a message that is already written. */
  bytes(field: number, value: Uint8Array): this {
    this.#varint(field * 8 + BYTES);
    this.#varint(value.length);
    this.#room(value.length);
    this.#bytes.set(value, this.#length);
    this.#length += value.length;
    return this;
  }

  /** A message inside this one. */
  message(field: number, fill: (inner: MessageWriter) => void): this {
    const inner = new MessageWriter();
    fill(inner);
    return this.bytes(field, inner.#bytes.subarray(0, inner.#length));
  }

  /** Floats one after another (packed). */
  floats(field: number, values: ArrayLike<number>): this {
    const bytes = new Uint8Array(values.length * 4);
    const view = new DataView(bytes.buffer);
    for (let i = 0; i < values.length; i += 1) view.setFloat32(i * 4, values[i]!, true);
    return this.bytes(field, bytes);
  }

  /** Whole numbers one after another (packed). */
  integers(field: number, values: ArrayLike<number>): this {
    const inner = new MessageWriter();
    for (let i = 0; i < values.length; i += 1) inner.#varint(values[i]!);
    return this.bytes(field, inner.#bytes.subarray(0, inner.#length));
  }

  #varint(value: number): void {
    if (!Number.isSafeInteger(value)) throw new Error(`${value} is no whole number a varint can carry`);
    this.#room(10);
    if (value >= 0 && value < 0x8000_0000) {
      let left = value;
      while (left > 0x7f) {
        this.#bytes[this.#length++] = (left & 0x7f) | 0x80;
        left >>>= 7;
      }
      this.#bytes[this.#length++] = left;
      return;
    }
    let left = BigInt.asUintN(64, BigInt(value));
    while (left > 0x7fn) {
      this.#bytes[this.#length++] = Number(left & 0x7fn) | 0x80;
      left >>= 7n;
    }
    this.#bytes[this.#length++] = Number(left);
  }

  #room(bytes: number): void {
    const needed = this.#length + bytes;
    if (needed <= this.#bytes.length) return;
    const larger = new Uint8Array(Math.max(needed, this.#bytes.length * 2));
    larger.set(this.#bytes.subarray(0, this.#length));
    this.#bytes = larger;
  }
}
