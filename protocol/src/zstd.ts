import {
  constants,
  createZstdCompress,
  createZstdDecompress,
  type ZstdCompress,
  type ZstdDecompress,
  zstdCompressSync,
  zstdDecompressSync,
} from "node:zlib";

// RFC 8878, 3.1.1: the first four bytes of a frame.
const MAGIC = 0xfd2fb528;
const FASTEST = { params: { [constants.ZSTD_c_compressionLevel]: 1 } };
/** 8 MB: the window a frame may make its reader keep. */
const BOUNDED = { params: { [constants.ZSTD_d_windowLogMax]: 23 } };
/** What comes out is collected in memory of this size, made once. */
const ROOM_BYTES = 65_536;

/** Whether bytes begin as a zstd frame does. */
export function isFrame(bytes: Buffer): boolean {
  return bytes.length >= 4 && bytes.readUInt32LE(0) === MAGIC;
}

/** Bytes as one zstd frame, at the fastest level: those that `zstdCompressSync` gives. */
export function packFrame(bytes: Uint8Array): Buffer {
  // Zstandard's own bound of what it can make of so many bytes (ZSTD_COMPRESSBOUND): with room for more, one call is enough.
  const roomBytes = bytes.length + (bytes.length >>> 8) + 65;
  return packing.run(bytes, roomBytes, roomBytes) ?? zstdCompressSync(bytes, FASTEST);
}

/**
 * The bytes of a zstd frame; what comes after it is left out. Throws what `zstdDecompressSync` throws: `ERR_BUFFER_TOO_LARGE` for more than `bytesMax`, and
 * otherwise what is wrong with them; also where a frame would need a window of more than 8 MB.
 */
export function unpackFrame(bytes: Buffer, bytesMax: number): Buffer {
  // Of nothing at all a context says what it said of the frame before.
  const unpacked = isFrame(bytes) ? unpacking.run(bytes, ROOM_BYTES, bytesMax) : undefined;
  // Node's own function says what is wrong with them.
  return unpacked ?? zstdDecompressSync(bytes, { ...BOUNDED, maxOutputLength: bytesMax });
}

type Stream = ZstdCompress | ZstdDecompress;

/** What a stream of Node's has behind it. There is no public way to give several frames to one context without waiting for each. */
interface Behind {
  readonly _handle: {
    writeSync(
      flush: number,
      input: Uint8Array,
      at: number,
      length: number,
      out: Buffer,
      to: number,
      room: number,
    ): void;
    onerror: () => void;
  };
  /** After a call: how much room is left, and how much of the input. */
  readonly _writeState: Uint32Array;
}

/** Whether this Node has behind its streams what {@link FrameContext} needs; where it has not, its own functions are used. */
export function hasContext(stream: Stream): boolean {
  const { _handle, _writeState } = stream as unknown as Partial<Behind>;
  return typeof _handle?.writeSync === "function" && _writeState instanceof Uint32Array;
}

/**
 * A context that takes one frame after the other. Node's own functions make and free one for each frame, which costs ten times what
 * packing a short batch does.
 */
class FrameContext {
  readonly #make: () => Stream;
  #stream: Stream | undefined;
  #isLacking = false;
  #hasFailed = false;

  constructor(make: () => Stream) {
    this.#make = make;
  }

  /** What becomes of the bytes; undefined where they are wrong or become too many, or Node has not what it takes. */
  run(bytes: Uint8Array, roomBytes: number, bytesMax: number): Buffer | undefined {
    if (this.#stream === undefined && !this.#open()) return undefined;
    const { _handle: handle, _writeState: left } = this.#stream as unknown as Behind;
    const out = roomBytes <= ROOM_BYTES ? room : Buffer.allocUnsafe(roomBytes);
    const parts: Buffer[] = [];
    let length = 0;
    for (let at = 0, outLeft = 0; outLeft === 0; ) {
      handle.writeSync(constants.ZSTD_e_end, bytes, at, bytes.length - at, out, 0, out.length);
      outLeft = left[0] as number;
      at = bytes.length - (left[1] as number);
      length += out.length - outLeft;
      if (this.#hasFailed || length > bytesMax) return this.#close();
      parts.push(Buffer.from(out.subarray(0, out.length - outLeft)));
    }
    return parts.length === 1 ? parts[0] : Buffer.concat(parts, length);
  }

  #open(): boolean {
    if (this.#isLacking) return false;
    const stream = this.#make();
    this.#isLacking = !hasContext(stream);
    if (this.#isLacking) return false;
    this.#hasFailed = false;
    // A frame that is cut short is an error too: what one message lacks is not taken from the next.
    (stream as unknown as Behind)._handle.onerror = () => {
      this.#hasFailed = true;
    };
    this.#stream = stream;
    return true;
  }

  /** Where it stands after what it could not read nobody knows: the next frame gets another one. */
  #close(): undefined {
    this.#stream?.close();
    this.#stream = undefined;
  }
}

const room = Buffer.allocUnsafeSlow(ROOM_BYTES);
const packing = new FrameContext(() => createZstdCompress(FASTEST));
const unpacking = new FrameContext(() => createZstdDecompress(BOUNDED));
