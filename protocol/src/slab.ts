const BLOCK_BYTES = 64 * 1024;
const ALIGNMENT_BYTES = 8;

/**
 * Small typed arrays, cut from blocks. V8 keeps one of more than 64 bytes outside its heap: to make and collect it takes
 * ten times as long as to fill it. A block goes when nothing that was cut from it is held any more.
 */
export class Slab {
  #block = new ArrayBuffer(0);
  #used = 0;

  /** So many doubles, all zero. */
  float64(length: number): Float64Array {
    const from = this.#take(length * Float64Array.BYTES_PER_ELEMENT);
    return from === undefined ? new Float64Array(length) : new Float64Array(this.#block, from, length);
  }

  /** So many floats, all zero. */
  float32(length: number): Float32Array {
    const from = this.#take(length * Float32Array.BYTES_PER_ELEMENT);
    return from === undefined ? new Float32Array(length) : new Float32Array(this.#block, from, length);
  }

  /** Where in the block there is room; undefined for what is no small part of a block. */
  #take(bytes: number): number | undefined {
    if (bytes > BLOCK_BYTES / 16) return undefined;
    if (this.#used + bytes > this.#block.byteLength) {
      this.#block = new ArrayBuffer(BLOCK_BYTES);
      this.#used = 0;
    }
    const from = this.#used;
    this.#used += Math.ceil(bytes / ALIGNMENT_BYTES) * ALIGNMENT_BYTES;
    return from;
  }
}
