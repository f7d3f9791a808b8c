import { packFrame, unpackFrame } from "@bellwether/protocol/zstd.ts";

/** Bytes as they lie in the store: a zstd frame of so many, or as they are. */
export interface PackedBytes {
  readonly bytes: Buffer;
  readonly unpackedBytes: number | null;
}

/** Fewer bytes are stored sooner than packed: making a frame begins with some 30 us. */
const PACKED_BYTES_MIN = 32_768;
const OPENING_BRACE = 0x7b;

/** Packs JSON where it is long enough to gain by it; what a device has packed is not packed again. */
export function pack(bytes: Buffer): PackedBytes {
  if (bytes.length < PACKED_BYTES_MIN || bytes[0] !== OPENING_BRACE) return { bytes, unpackedBytes: null };
  return { bytes: packFrame(bytes), unpackedBytes: bytes.length };
}

/** The bytes as they were. */
export function unpack({ bytes, unpackedBytes }: PackedBytes): Buffer {
  return unpackedBytes === null ? bytes : unpackFrame(bytes, unpackedBytes);
}
