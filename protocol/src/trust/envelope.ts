import { type Static, Type } from "typebox";
import { err, ok, type Result } from "../result.ts";
import { validator } from "../schema.ts";
import { keyIdOf, signBytes, verifyBytes } from "./keys.ts";

/**
 * Exact bytes with signatures over them (DSSE's shape): what was signed is what is parsed, so no two parsers can
 * disagree about it. The type is signed with the bytes: an envelope of one kind cannot pass for another.
 */
export const Envelope = Type.Object({
  payloadType: Type.String({ minLength: 1, maxLength: 128 }),
  /** Base64 of the payload. */
  payload: Type.String({ maxLength: 65_536 }),
  signatures: Type.Array(
    Type.Object({
      keyid: Type.String({ pattern: "^[0-9a-f]{64}$" }),
      /** Hex of the Ed25519 signature over the pre-authentication encoding. */
      sig: Type.String({ pattern: "^[0-9a-f]{128}$" }),
    }),
    { minItems: 1, maxItems: 16 },
  ),
});
export type Envelope = Static<typeof Envelope>;
export const envelopeShape = validator("The envelope", Envelope);

/** DSSE v1 pre-authentication encoding: lengths keep type and payload apart. */
function preAuthentication(payloadType: string, payload: Uint8Array): Buffer {
  const head = `DSSEv1 ${Buffer.byteLength(payloadType)} ${payloadType} ${payload.byteLength} `;
  return Buffer.concat([Buffer.from(head), payload]);
}

/** Signs a payload with one key; `publicKey` gives the signature its key id. */
export function sealEnvelope(
  payloadType: string,
  payload: Uint8Array,
  key: { readonly seed: Uint8Array; readonly publicKey: Uint8Array },
): Envelope {
  const sig = signBytes(preAuthentication(payloadType, payload), key.seed).toString("hex");
  return {
    payloadType,
    payload: Buffer.from(payload).toString("base64"),
    signatures: [{ keyid: keyIdOf(key.publicKey), sig }],
  };
}

/**
 * The payload, when one of the trusted keys signed it as this type. `ENVELOPE_UNKNOWN_KEY` when no signature names a
 * trusted key (a foreign director), `ENVELOPE_SIGNATURE_INVALID` when one does but does not verify (a changed payload).
 */
export function openEnvelope(envelope: Envelope, payloadType: string, trusted: readonly Uint8Array[]): Result<Buffer> {
  if (envelope.payloadType !== payloadType) {
    return err("ENVELOPE_WRONG_TYPE", { expected: payloadType, actual: envelope.payloadType });
  }
  const payload = Buffer.from(envelope.payload, "base64");
  const signed = preAuthentication(payloadType, payload);
  let known = false;
  for (const { keyid, sig } of envelope.signatures) {
    const key = trusted.find((candidate) => keyIdOf(candidate) === keyid);
    if (!key) continue;
    known = true;
    if (verifyBytes(signed, Buffer.from(sig, "hex"), key)) return ok(payload);
  }
  const keyid = envelope.signatures[0]?.keyid;
  return known ? err("ENVELOPE_SIGNATURE_INVALID", { keyid }) : err("ENVELOPE_UNKNOWN_KEY", { keyid });
}
