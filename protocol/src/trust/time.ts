import { type Static, Type } from "typebox";
import { Name, TimeMs } from "../ids.ts";
import { err, ok, type Result } from "../result.ts";
import { validator } from "../schema.ts";
import { canonicalBytes } from "./canonical.ts";
import { envelopeShape, openEnvelope, sealEnvelope } from "./envelope.ts";
import type { KeyPair } from "./keys.ts";

const TIME_TYPE = "application/vnd.bellwether.time+json";

/** What the time is, said to one device in answer to its nonce. */
const SignedTime = Type.Object({
  v: Type.Literal(1),
  device: Name,
  nonce: Type.String({ minLength: 32, maxLength: 64 }),
  atMs: TimeMs,
});
const timeShape = validator("The signed time", SignedTime);

/** Signs what the time is with the director's key. */
export function sealTime(time: Omit<Static<typeof SignedTime>, "v">, key: KeyPair): Buffer {
  return Buffer.from(JSON.stringify(sealEnvelope(TIME_TYPE, canonicalBytes({ v: 1, ...time }), key)));
}

/**
 * What the time is, in milliseconds since 1970 UTC: signed by one of the director's keys, for this device and for this
 * nonce, so that no answer serves twice. `SERVER_TIME_REFUSED` where it is another device's or another question's.
 */
export function openTime(
  bytes: Uint8Array,
  { device, nonce, keys }: { readonly device: string; readonly nonce: string; readonly keys: readonly Uint8Array[] },
): Result<number> {
  const envelope = envelopeShape.parse(bytes);
  if (!envelope.ok) return envelope;
  const payload = openEnvelope(envelope.value, TIME_TYPE, keys);
  if (!payload.ok) return payload;
  const time = timeShape.parse(payload.value);
  if (!time.ok) return time;
  if (time.value.device !== device) return err("SERVER_TIME_REFUSED", { reason: "it was said to another device" });
  if (time.value.nonce !== nonce) return err("SERVER_TIME_REFUSED", { reason: "it answers another question" });
  return ok(time.value.atMs);
}
