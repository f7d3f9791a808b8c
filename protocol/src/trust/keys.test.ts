import fc from "fast-check";
import nacl from "tweetnacl";
import { describe, expect, it } from "vitest";
import { canonicalText } from "./canonical.ts";
import { keyPairOf, readPublicKey, signBytes, verifyBytes } from "./keys.ts";
import { loginBytes, verifyHex } from "./login.ts";

const seeds = fc.uint8Array({ minLength: 32, maxLength: 32 });
const ORDER = 2n ** 252n + 27742317777372353535851937790883648493n;

function plusOrder(signature: Uint8Array): Buffer {
  const s = Buffer.from(signature.subarray(32)).reverse().toString("hex");
  const sum = (BigInt(`0x${s}`) + ORDER).toString(16).padStart(64, "0");
  return Buffer.concat([signature.subarray(0, 32), Buffer.from(sum, "hex").reverse()]);
}

describe("keys", () => {
  it("sign the same bytes as tweetnacl, and each verifies the other", () => {
    fc.assert(
      fc.property(seeds, fc.uint8Array({ maxLength: 200 }), (seed, bytes) => {
        const pair = keyPairOf(seed);
        const signature = signBytes(bytes, seed);
        expect(signature.equals(nacl.sign.detached(bytes, nacl.sign.keyPair.fromSeed(seed).secretKey))).toBe(true);
        expect(verifyBytes(bytes, signature, pair.publicKey)).toBe(true);
      }),
      { numRuns: 30 },
    );
  });

  it("refuse a changed bit, a wrong length and a malleated signature", () => {
    const pair = keyPairOf(Buffer.alloc(32, 7));
    const bytes = Buffer.from("pump");
    const signature = signBytes(bytes, pair.seed);
    fc.assert(
      fc.property(fc.nat(511), (bit) => {
        const changed = Buffer.from(signature);
        changed[bit >> 3] = (changed[bit >> 3] as number) ^ (1 << (bit & 7));
        expect(verifyBytes(bytes, changed, pair.publicKey)).toBe(false);
      }),
    );
    expect(verifyBytes(bytes, plusOrder(signature), pair.publicKey)).toBe(false);
    expect(verifyBytes(bytes, signature.subarray(1), pair.publicKey)).toBe(false);
    expect(verifyBytes(bytes, signature, pair.publicKey.subarray(1))).toBe(false);
    expect(verifyBytes(bytes, signature, Buffer.alloc(32, 255))).toBe(false);
  });

  it.each([
    "00".repeat(32),
    `01${"00".repeat(31)}`,
    `${"00".repeat(31)}80`,
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    `ec${"ff".repeat(30)}7f`,
    `ee${"ff".repeat(31)}`,
    "xyz",
  ])("refuse the public key %s", (hex) => {
    const read = readPublicKey(hex);
    expect(read.ok ? undefined : read.error.code).toBe("KEY_INVALID");
  });

  it("sign a login for one broker, device and nonce only", () => {
    const pair = keyPairOf(Buffer.alloc(32, 9));
    const signature = signBytes(loginBytes("broker-a", "d1", "n1"), pair.seed).toString("hex");
    expect(verifyHex(loginBytes("broker-a", "d1", "n1"), signature, pair.publicKey)).toBe(true);
    for (const other of [
      loginBytes("broker-b", "d1", "n1"),
      loginBytes("broker-a", "d2", "n1"),
      loginBytes("broker-a", "d1", "n2"),
    ]) {
      expect(verifyHex(other, signature, pair.publicKey)).toBe(false);
    }
    expect(verifyHex(loginBytes("broker-a", "d1", "n1"), "zz", pair.publicKey)).toBe(false);
  });
});

describe("canonical JSON", () => {
  it("is valid JSON of the same value, whatever order its members were set in", () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        const text = canonicalText(value);
        expect(canonicalText(JSON.parse(text))).toBe(text);
        expect(JSON.parse(text)).toEqual(JSON.parse(JSON.stringify(value)));
      }),
    );
    expect(canonicalText({ b: 1, a: { d: [], c: "\n" } })).toBe('{"a":{"c":"\\n","d":[]},"b":1}');
  });

  it("refuses what has no form", () => {
    expect(() => canonicalText({ a: Number.NaN })).toThrow("NaN");
    expect(() => canonicalText([undefined])).toThrow("undefined");
  });
});
