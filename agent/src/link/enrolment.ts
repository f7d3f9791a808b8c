import { TimeMs } from "@bellwether/protocol/ids.ts";
import { EnrolmentResponse } from "@bellwether/protocol/messages/device.ts";
import { validator } from "@bellwether/protocol/schema.ts";
import { type Static, Type } from "typebox";

/** What enrolment.json holds: the server's answer, where it was asked, and the device's public key. */
export const Enrolment = Type.Intersect([
  EnrolmentResponse,
  Type.Object({
    v: Type.Literal(1),
    serverUrl: Type.String({ minLength: 1, maxLength: 512 }),
    publicHex: Type.String({ pattern: "^[0-9a-f]{64}$" }),
    enrolledAtMs: TimeMs,
  }),
]);
export type Enrolment = Static<typeof Enrolment>;
export const enrolmentFile = validator("enrolment.json", Enrolment);

/** A device that is enrolled: who it is, and the seed of its key. */
export interface Identity {
  readonly enrolment: Enrolment;
  readonly seed: Uint8Array;
}
