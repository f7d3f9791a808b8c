/** What scans have found, in numbers, and the texts that some of them stand for. */
export interface Tape {
  readonly words: Float64Array;
  readonly texts: readonly string[];
}

const FIRST_WORDS = 64;

/**
 * Takes what scans find as numbers one after the other: as thousands of small objects it would cost more than finding it, and
 * again on its way to another thread.
 */
export class ScanTape implements Tape {
  #words: Float64Array<ArrayBuffer>;
  readonly #texts: string[] = [];
  /** Places of the texts by a number made of their bytes. */
  readonly #known = new Map<number, number>();
  #length = 0;

  /** `memory` is what is written first; what another tape had, where there is such. */
  constructor(memory: ArrayBuffer = new ArrayBuffer(8 * FIRST_WORDS)) {
    this.#words = new Float64Array(memory);
  }

  /** Words on it. */
  get length(): number {
    return this.#length;
  }

  get words(): Float64Array<ArrayBuffer> {
    return this.#words;
  }

  get texts(): readonly string[] {
    return this.#texts;
  }

  add(word: number): void {
    if (this.#length === this.#words.length) this.#grow();
    this.#words[this.#length++] = word;
  }

  /** Changes a word that is there. */
  set(at: number, word: number): void {
    this.#words[at] = word;
  }

  /** Takes the words from a place on back. */
  cut(length: number): void {
    this.#length = length;
  }

  /** The number of a text of single bytes, which is made once for as many as have the same. */
  numberOf(json: Buffer, from: number, to: number): number {
    const hash = hashOf(json, from, to);
    const known = this.#known.get(hash);
    if (known !== undefined && stands(this.#texts[known] as string, json, from, to)) return known;
    const number = this.#texts.push(json.toString("latin1", from, to)) - 1;
    this.#known.set(hash, number);
    return number;
  }

  #grow(): void {
    // Moved and not copied: what was outgrown is free at once, however late the collector comes.
    this.#words = new Float64Array(this.#words.buffer.transfer(2 * Math.max(this.#words.byteLength, 8 * FIRST_WORDS)));
  }
}

/** FNV-1a of some bytes, cut to what V8 keeps without an object. */
export function hashOf(bytes: Buffer, from: number, to: number): number {
  let hash = 0x811c9dc5;
  for (let at = from; at < to; at++) hash = Math.imul(hash ^ (bytes[at] as number), 0x01000193);
  return hash & 0x3fff_ffff;
}

function stands(text: string, json: Buffer, from: number, to: number): boolean {
  if (text.length !== to - from) return false;
  for (let index = 0; index < text.length; index++) if (text.charCodeAt(index) !== json[from + index]) return false;
  return true;
}
