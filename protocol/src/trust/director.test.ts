import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { canonicalBytes } from "./canonical.ts";
import { DIRECTOR_TYPE, type DirectorDocument, openDirector, sealDirector } from "./director.ts";
import { type Envelope, sealEnvelope } from "./envelope.ts";
import { keyPairOf } from "./keys.ts";

const director = keyPairOf(Buffer.alloc(32, 1));
const stranger = keyPairOf(Buffer.alloc(32, 2));
const document: DirectorDocument = {
  v: 1,
  device: "d1",
  version: 5,
  issuedAtMs: 1_000,
  expiresAtMs: 2_000,
  models: [
    {
      model: "m",
      version: 2,
      manifestDigest: `sha256:${"a".repeat(64)}`,
      manifestLength: 100,
      releaseCounter: 2,
      confirm: { inferences: 1, soakMs: 0, deadlineMs: 1, errorFraction: 0 },
    },
  ],
  remove: [],
};
const trust = { device: "d1", keys: [director.publicKey], lastVersion: 5, nowMs: 1_500 };

function codeOf(bytes: Uint8Array, change: Partial<typeof trust> = {}): string | undefined {
  const opened = openDirector(bytes, { ...trust, ...change });
  return opened.ok ? undefined : opened.error.code;
}

function changed(change: (envelope: Envelope) => Envelope): Buffer {
  return Buffer.from(JSON.stringify(change(JSON.parse(sealDirector(document, director).toString()))));
}

describe("a director document", () => {
  it("opens as it was sealed", () => {
    expect(openDirector(sealDirector(document, director), trust)).toEqual({ ok: true, value: document });
  });

  it.each<[string, Uint8Array, Partial<typeof trust>, string]>([
    ["signed by a stranger", sealDirector(document, stranger), {}, "ENVELOPE_UNKNOWN_KEY"],
    [
      "signed by a stranger under the director's name",
      changed((envelope) => ({
        ...sealEnvelope(DIRECTOR_TYPE, canonicalBytes(document), stranger),
        signatures: [
          {
            keyid: envelope.signatures[0]?.keyid ?? "",
            sig: sealEnvelope(DIRECTOR_TYPE, canonicalBytes(document), stranger).signatures[0]?.sig ?? "",
          },
        ],
      })),
      {},
      "ENVELOPE_SIGNATURE_INVALID",
    ],
    [
      "whose payload was changed",
      changed((envelope) => ({ ...envelope, payload: canonicalBytes({ ...document, version: 6 }).toString("base64") })),
      {},
      "ENVELOPE_SIGNATURE_INVALID",
    ],
    [
      "of another type",
      Buffer.from(JSON.stringify(sealEnvelope("text/plain", canonicalBytes(document), director))),
      {},
      "ENVELOPE_WRONG_TYPE",
    ],
    ["of another device", sealDirector(document, director), { device: "d2" }, "DIRECTOR_WRONG_DEVICE"],
    ["older than one accepted", sealDirector(document, director), { lastVersion: 6 }, "DIRECTOR_ROLLBACK"],
    ["that expired", sealDirector(document, director), { nowMs: 2_000 }, "DIRECTOR_EXPIRED"],
    ["that is no JSON", Buffer.from("{"), {}, "INVALID_JSON"],
    ["that is too large", Buffer.alloc(70_000, 32), {}, "TOO_LARGE"],
  ])("%s is refused", (_, bytes, change, code) => {
    expect(codeOf(bytes, change)).toBe(code);
  });

  it("answers any bytes with a code, and never throws", () => {
    const refused = (bytes: Uint8Array) => codeOf(bytes) !== undefined;
    fc.assert(fc.property(fc.uint8Array({ maxLength: 500 }), refused));
    fc.assert(fc.property(fc.json(), (text) => refused(Buffer.from(text))));
  });
});
