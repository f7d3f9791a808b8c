import { type Static, Type } from "typebox";
import { Digest, Name, TimeMs } from "../ids.ts";
import { err, ok, type Result } from "../result.ts";
import { integer, validator } from "../schema.ts";
import { canonicalBytes } from "./canonical.ts";
import { type Envelope, envelopeShape, openEnvelope, sealEnvelope } from "./envelope.ts";

export const DIRECTOR_TYPE = "application/vnd.bellwether.director+json";

/**
 * How long a model runs beside the one that serves, on the same rows and without any consequence, before it may serve.
 * Errors are allowed as `errorFraction` says; `deadlineMs` counts from when `durationMs` is over.
 */
export const ShadowRule = Type.Object({
  inferences: integer({ minimum: 1, maximum: 1_000_000 }),
  durationMs: Type.Number({ minimum: 0, maximum: 2_592_000_000 }),
});
export type ShadowRule = Static<typeof ShadowRule>;

/** What a device must see before it says that a model succeeded. */
export const ConfirmRule = Type.Object({
  inferences: integer({ minimum: 1, maximum: 1_000_000 }),
  soakMs: Type.Number({ minimum: 0, maximum: 2_592_000_000 }),
  deadlineMs: Type.Number({ minimum: 1, maximum: 2_592_000_000 }),
  errorFraction: Type.Number({ minimum: 0, maximum: 1 }),
  /** Absent: the model serves as soon as its self-test is passed. */
  shadow: Type.Optional(ShadowRule),
});
export type ConfirmRule = Static<typeof ConfirmRule>;

/** One model a device should run. */
export const DirectedModel = Type.Object({
  model: Name,
  version: integer({ minimum: 1 }),
  manifestDigest: Digest,
  manifestLength: integer({ minimum: 1, maximum: 16 * 1024 * 1024 }),
  /** The release's own number in the image repository: both repositories must name the same. */
  releaseCounter: integer({ minimum: 1 }),
  /** Cohort whose retraining role released it; without it the release is everybody's. */
  cohort: Type.Optional(Name),
  confirm: ConfirmRule,
  rollout: Type.Optional(Type.String({ maxLength: 64 })),
  /** Version of the document that first asked for this: a renewed document repeats it, a second attempt raises it. */
  assignedIn: Type.Optional(integer({ minimum: 1 })),
});
export type DirectedModel = Static<typeof DirectedModel>;

/**
 * What the director asks of one device, whole: a model it runs and that is not named here stays as it is, one under
 * `remove` stops. A revert is a newer document that names an older release.
 */
export const DirectorDocument = Type.Object({
  v: Type.Literal(1),
  device: Name,
  version: integer({ minimum: 1 }),
  issuedAtMs: TimeMs,
  expiresAtMs: TimeMs,
  models: Type.Array(DirectedModel, { maxItems: 64 }),
  remove: Type.Array(Name, { maxItems: 64 }),
});
export type DirectorDocument = Static<typeof DirectorDocument>;
export const directorShape = validator("The director document", DirectorDocument);

/** Signs a document with the director's key; the bytes are what travels on `down/desired`. */
export function sealDirector(
  document: DirectorDocument,
  key: { readonly seed: Uint8Array; readonly publicKey: Uint8Array },
): Buffer {
  return Buffer.from(JSON.stringify(sealEnvelope(DIRECTOR_TYPE, canonicalBytes(document), key)));
}

/** What an unopened document claims: to tell news from repetition and to show it, never to trust anything. */
export function claimsOf(bytes: Uint8Array): DirectorDocument | undefined {
  const envelope = envelopeShape.parse(bytes);
  if (!envelope.ok) return undefined;
  const document = directorShape.parse(Buffer.from(envelope.value.payload, "base64"));
  return document.ok ? document.value : undefined;
}

/** What a device knows when a director document arrives. */
export interface DirectorTrust {
  readonly device: string;
  /** Keys the image repository's targets name for the director. */
  readonly keys: readonly Uint8Array[];
  /** Newest version this device ever accepted. */
  readonly lastVersion: number;
  /** max(clock, trusted-time floor). */
  readonly nowMs: number;
}

/**
 * Opens and judges a document. The checks stand in this order because each may rely on those before it:
 * 1. shape and bounds (a parser bomb, endless data);
 * 2. signature by a key the image repository names (arbitrary install, a stolen broker, a foreign director);
 * 3. the device it is for (a document of another device, replayed);
 * 4. version (rollback to an older wish; the same version again is no news but no attack);
 * 5. expiry (freeze: an old wish kept alive).
 * Whether the image repository released what it names is checked against targets by the caller.
 */
export function openDirector(bytes: Uint8Array, trust: DirectorTrust): Result<DirectorDocument> {
  const envelope: Result<Envelope> = envelopeShape.parse(bytes);
  if (!envelope.ok) return envelope;
  const payload = openEnvelope(envelope.value, DIRECTOR_TYPE, trust.keys);
  if (!payload.ok) return payload;
  const parsed = directorShape.parse(payload.value);
  if (!parsed.ok) return parsed;
  const document = parsed.value;
  if (document.device !== trust.device) {
    return err("DIRECTOR_WRONG_DEVICE", { expected: trust.device, actual: document.device });
  }
  if (document.version < trust.lastVersion) {
    return err("DIRECTOR_ROLLBACK", { version: document.version, newest: trust.lastVersion });
  }
  if (document.expiresAtMs <= trust.nowMs) {
    return err("DIRECTOR_EXPIRED", { expiredAt: new Date(document.expiresAtMs).toISOString() });
  }
  return ok(document);
}
