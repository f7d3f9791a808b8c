import { constants, createZstdCompress, createZstdDecompress, zstdCompressSync, zstdDecompressSync } from "node:zlib";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { hasContext, packFrame, unpackFrame } from "./zstd.ts";

const BYTES_MAX = 200_000;
const fastest = { params: { [constants.ZSTD_c_compressionLevel]: 1 } };
const bounded = { params: { [constants.ZSTD_d_windowLogMax]: 23 }, maxOutputLength: BYTES_MAX / 2 };

/** Text as batches have it, random bytes, and nothing; some longer than what one call can give. */
const content = fc.tuple(fc.uint8Array({ maxLength: 300 }), fc.nat(900), fc.boolean()).map(([seed, times, isText]) => {
  const one = isText ? Buffer.from(JSON.stringify([...seed])) : Buffer.from(seed);
  return Buffer.concat(Array.from({ length: times + 1 }, () => one)).subarray(0, BYTES_MAX);
});

/** What a function gives, or the code and the words of its error. */
function told(run: () => Buffer): unknown {
  try {
    return run().toString("base64");
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    return { code, message };
  }
}

describe("zstd frames", () => {
  it("are made and read by one context each, on this Node", () => {
    expect(hasContext(createZstdCompress())).toBe(true);
    expect(hasContext(createZstdDecompress())).toBe(true);
  });

  it("are those of Node's own functions, one after the other", () => {
    fc.assert(
      fc.property(content, (bytes) => {
        const packed = packFrame(bytes);
        expect(zstdDecompressSync(packed).equals(bytes)).toBe(true);
        expect(unpackFrame(packed, BYTES_MAX).equals(bytes)).toBe(true);
        // Where what is left of Node's room is nothing, it adds an empty frame.
        if (packed.length % 16_384 !== 0) expect(packed.equals(zstdCompressSync(bytes, fastest))).toBe(true);
      }),
      { numRuns: 300 },
    );
  });

  it("say the same of any bytes as Node's own function, whatever came before", () => {
    const damage = fc.record({
      cut: fc.option(fc.double({ min: 0, max: 1, noNaN: true }), { nil: undefined }),
      flips: fc.array(
        fc.tuple(fc.double({ min: 0, max: 1, noNaN: true, maxExcluded: true }), fc.integer({ min: 1, max: 255 })),
        {
          maxLength: 2,
        },
      ),
      twice: fc.boolean(),
      tail: fc.uint8Array({ maxLength: 8 }),
      checksum: fc.boolean(),
    });
    const whole = Buffer.from("what comes after the damaged one ".repeat(20));
    const packedWhole = packFrame(whole);
    fc.assert(
      fc.property(content, damage, (plain, { cut, flips, twice, tail, checksum }) => {
        const params = { [constants.ZSTD_c_compressionLevel]: 1, [constants.ZSTD_c_checksumFlag]: Number(checksum) };
        let packed: Buffer = zstdCompressSync(plain, { params });
        // Where the first frame fills the room of Node's own function to the last byte, that goes on with the second.
        if (twice && plain.length % 16_384 !== 0) packed = Buffer.concat([packed, packed]);
        packed = Buffer.concat([packed, tail]);
        for (const [at, change] of flips) packed[Math.floor(at * packed.length)]! ^= change;
        if (cut !== undefined) packed = packed.subarray(0, Math.floor(cut * packed.length));
        const expected = told(() => zstdDecompressSync(packed, bounded));
        expect(told(() => unpackFrame(packed, BYTES_MAX / 2))).toEqual(expected);
        expect(unpackFrame(packedWhole, BYTES_MAX).equals(whole)).toBe(true);
      }),
      { numRuns: 2_000 },
    );
  });
});
