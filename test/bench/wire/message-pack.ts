/** MessagePack of JSON-like values (github.com/msgpack/msgpack/blob/master/spec.md); numbers that are no small integers are doubles. */
export function messagePack(value: unknown): Buffer {
  const parts: Buffer[] = [];
  pack(value, parts);
  return Buffer.concat(parts);
}

function pack(value: unknown, parts: Buffer[]): void {
  if (value === null || value === undefined) parts.push(Buffer.of(0xc0));
  else if (typeof value === "boolean") parts.push(Buffer.of(value ? 0xc3 : 0xc2));
  else if (typeof value === "number") parts.push(number(value));
  else if (typeof value === "string") parts.push(text(value));
  else if (Array.isArray(value)) {
    parts.push(head(0x90, 0xdc, value.length));
    for (const one of value) pack(one, parts);
  } else {
    const entries = Object.entries(value as object);
    parts.push(head(0x80, 0xde, entries.length));
    for (const [key, one] of entries) {
      parts.push(text(key));
      pack(one, parts);
    }
  }
}

function number(value: number): Buffer {
  if (Number.isInteger(value) && value >= 0 && value < 128) return Buffer.of(value);
  if (Number.isInteger(value) && Math.abs(value) < 32_768) {
    const small = Buffer.alloc(3, 0xd1);
    small.writeInt16BE(value, 1);
    return small;
  }
  const double = Buffer.alloc(9, 0xcb);
  double.writeDoubleBE(value, 1);
  return double;
}

function text(value: string): Buffer {
  const bytes = Buffer.from(value);
  return Buffer.concat([bytes.length < 32 ? Buffer.of(0xa0 | bytes.length) : Buffer.of(0xd9, bytes.length), bytes]);
}

function head(short: number, long: number, length: number): Buffer {
  return length < 16 ? Buffer.of(short | length) : Buffer.of(long, length >> 8, length & 255);
}
