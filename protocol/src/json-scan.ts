/** A text to be compared with what stands in a JSON, four bytes at a time. */
export interface Literal {
  readonly length: number;
  /** Its bytes from 0, 4, 8 … on, and its last four; a text of fewer is no such word. */
  readonly words: Int32Array;
  readonly bytes: Uint8Array;
}

/** A text of single bytes as a literal. */
export function text(literal: string): Literal {
  const bytes = Buffer.from(literal, "latin1");
  const last = bytes.length - 4;
  const places = Array.from({ length: Math.ceil(bytes.length / 4) }, (_, n) => Math.min(4 * n, last));
  const words = last < 0 ? new Int32Array(0) : Int32Array.from(places, (at) => bytes.readInt32LE(at));
  return { length: bytes.length, words, bytes: Uint8Array.from(bytes) };
}

/** Thrown where a JSON is written otherwise than a scan expects: nothing of it need be wrong. It is made once, not for each. */
export const NOT_SCANNED = new Error("not written as expected");

const [TRUE, FALSE] = [text("true"), text("false")];
export const ZERO = 0x30;
export const NINE = 0x39;
export const MINUS = 0x2d;
export const POINT = 0x2e;
export const COMMA = 0x2c;
export const QUOTE = 0x22;
export const CLOSE_LIST = 0x5d;
export const CLOSE_OBJECT = 0x7d;
export const TIME_MS_MAX = 8.64e15;

// Bytes a name may have (ids.ts): letters and digits, and after the first of them dot, dash and underscore.
const NAME_BYTES = Uint8Array.from({ length: 256 }, (_, byte) => {
  const character = String.fromCharCode(byte);
  if (/[A-Za-z0-9]/.test(character)) return 2;
  return /[._-]/.test(character) ? 1 : 0;
});

const NOTHING = Buffer.alloc(0);
const viewOf = ({ buffer, byteOffset, byteLength }: Buffer) => new DataView(buffer, byteOffset, byteLength);

/**
 * A place in a JSON and what may be read there, byte by byte: for a reader that knows how its JSON is written, and
 * reads it many times a second. Whatever is written otherwise throws {@link NOT_SCANNED}.
 */
export class JsonScan {
  protected json: Buffer = NOTHING;
  protected view = viewOf(NOTHING);
  protected end = 0;
  protected at = 0;

  /** Goes to the bytes from `from` to before `to`. */
  protected goTo(json: Buffer, from: number, to: number): void {
    if (this.json !== json) this.view = viewOf(json);
    this.json = json;
    this.at = from;
    this.end = to;
  }

  /** Whether a list ends here; otherwise the comma before its next entry is passed. */
  endsList(hasEntries: boolean): boolean {
    const byte = this.json[this.at];
    if (byte === CLOSE_LIST) {
      this.at++;
      return true;
    }
    if (hasEntries) this.byte(COMMA);
    return false;
  }

  /** Passes an epoch. */
  epochEnd(): number {
    for (let index = 0; index < 16; index++) {
      const byte = this.json[this.at++] as number;
      if (!((byte >= 0x30 && byte <= 0x39) || (byte >= 0x61 && byte <= 0x66))) throw NOT_SCANNED;
    }
    return this.at;
  }

  /** Passes a name, not the quote that ends it. */
  nameEnd(): number {
    const json = this.json;
    const from = this.at;
    let at = from;
    if (NAME_BYTES[json[at] as number] !== 2) throw NOT_SCANNED;
    while ((NAME_BYTES[json[at] as number] ?? 0) > 0) at++;
    if (at - from > 64 || json[at] !== QUOTE) throw NOT_SCANNED;
    this.at = at;
    return at;
  }

  time(): number {
    const timeMs = this.integer();
    if (timeMs < 0 || timeMs > TIME_MS_MAX) throw NOT_SCANNED;
    return timeMs;
  }

  boolean(): boolean {
    if (this.skip(TRUE)) return true;
    this.expect(FALSE);
    return false;
  }

  /** An integer of at most 15 digits, which every double holds, as JSON writes it: no zero before, never -0. */
  integer(): number {
    const json = this.json;
    const negative = json[this.at] === MINUS;
    const from = negative ? this.at + 1 : this.at;
    let at = from;
    let value = 0;
    for (let digit = (json[at] as number) - 0x30; digit >= 0 && digit <= 9; digit = (json[++at] as number) - 0x30) {
      value = value * 10 + digit;
    }
    if (at === from || at - from > 15 || (json[from] === 0x30 && (at - from > 1 || negative))) throw NOT_SCANNED;
    const next = json[at];
    if (next !== COMMA && next !== CLOSE_LIST && next !== CLOSE_OBJECT) throw NOT_SCANNED;
    this.at = at;
    return negative ? -value : value;
  }

  /** Passes a number that is finite and not negative zero. */
  decimal(): void {
    const json = this.json;
    const negative = json[this.at] === MINUS;
    const from = negative ? this.at + 1 : this.at;
    let at = from;
    let digits = 0;
    for (let digit = (json[at] as number) - ZERO; digit >= 0 && digit <= 9; digit = (json[++at] as number) - ZERO) {
      digits |= digit;
    }
    const whole = at - from;
    if (json[at] === POINT) {
      const point = at;
      for (let digit = (json[++at] as number) - ZERO; digit >= 0 && digit <= 9; digit = (json[++at] as number) - ZERO) {
        digits |= digit;
      }
      if (at === point + 1) throw NOT_SCANNED;
    }
    const next = json[at];
    if (next !== COMMA && next !== CLOSE_LIST) return void this.number();
    if (whole === 0 || whole > 300 || (json[from] === ZERO && whole > 1) || (negative && digits === 0))
      throw NOT_SCANNED;
    this.at = at;
  }

  /** Any finite number that is not negative zero; its text ends where the scan goes on. */
  number(): number {
    const json = this.json;
    const from = this.at;
    let at = from;
    // The longest a double takes, with all that JSON allows around it; nobody writes more.
    while (at - from < 40 && isOfNumber(json[at] as number)) at++;
    if (at - from === 1) {
      const digit = (json[from] as number) - 0x30;
      if (digit < 0 || digit > 9) throw NOT_SCANNED;
      this.at = at;
      return digit;
    }
    const written = json.toString("latin1", from, at);
    if (!JSON_NUMBER.test(written)) throw NOT_SCANNED;
    const value = Number(written);
    if (!Number.isFinite(value) || Object.is(value, -0)) throw NOT_SCANNED;
    this.at = at;
    return value;
  }

  byte(expected: number): void {
    if (this.json[this.at++] !== expected) throw NOT_SCANNED;
  }

  expect(literal: Literal): void {
    if (!this.skip(literal)) throw NOT_SCANNED;
  }

  skip({ length, words, bytes }: Literal): boolean {
    const { at } = this;
    const { view } = this;
    const after = at + length;
    if (after > this.end) return false;
    const { length: count } = words;
    for (let word = 0; word < count; word++) {
      const place = word === count - 1 ? after - 4 : at + 4 * word;
      if (view.getInt32(place, true) !== words[word]) return false;
    }
    for (let index = 0; count === 0 && index < length; index++) {
      if (this.json[at + index] !== bytes[index]) return false;
    }
    this.at = after;
    return true;
  }
}

// RFC 8259, 6.
const JSON_NUMBER = /^-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?$/;

function isOfNumber(byte: number): boolean {
  return (
    (byte >= 0x30 && byte <= 0x39) || byte === 0x2d || byte === 0x2e || byte === 0x65 || byte === 0x45 || byte === 0x2b
  );
}
