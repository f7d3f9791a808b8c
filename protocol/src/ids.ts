import { Type } from "typebox";
import { integer } from "./schema.ts";

// One name rule for everything that becomes a topic level, a file name or a URL segment: no separators, no wildcards,
// no leading dot, bounded. Asset and channel names may keep the dots people write ("pump-3", "vib.de.rms").
const NAME_PATTERN = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$";
const NAME = new RegExp(NAME_PATTERN);

/** Schema of a name: site, device, asset, channel, model, cohort, input. 1 to 64 of letters, digits, dot, dash, underscore. */
export const Name = Type.String({ pattern: NAME_PATTERN, description: "1 to 64 of A-Z a-z 0-9 . _ -" });

/** Whether a text is a valid name. */
export function isName(text: string): boolean {
  return NAME.test(text);
}

const DIGEST = /^sha256:[0-9a-f]{64}$/;

/** Schema of a SHA-256 digest: "sha256:" and 64 lower-case hex digits. */
export const Digest = Type.String({ pattern: DIGEST.source });

/** Whether a text is a digest. */
export function isDigest(text: string): boolean {
  return DIGEST.test(text);
}

/** Schema of an epoch: a random 64-bit number as 16 lower-case hex digits, drawn with each outbox file. */
export const Epoch = Type.String({ pattern: "^[0-9a-f]{16}$" });

/** The last millisecond since 1970 UTC that a date can name (ECMAScript's time value): beyond it none can be written. */
export const TIME_MS_MAX = 8_640_000_000_000_000;

/** Schema of a time in milliseconds since 1970 UTC. */
export const TimeMs = integer({ minimum: 0, maximum: TIME_MS_MAX });
