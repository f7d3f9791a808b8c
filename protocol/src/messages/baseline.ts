import { type Static, Type } from "typebox";
import { BaselineSnapshot } from "../features/baseline.ts";
import { Name } from "../ids.ts";
import { validator } from "../schema.ts";

/** What a device may say of one baseline at most, in bytes of JSON: it must fit a packet on its way down. */
export const BASELINE_BYTES_MAX = 60_000;

/**
 * What is normal for one asset under one model: the model's own baseline of its features, and the drift detector's. Of
 * use only to versions of the same form (the same channels, window and features) and with the same reference.
 */
export const FrozenBaseline = Type.Object({
  form: Type.String({ pattern: "^[0-9a-f]{64}$" }),
  features: Type.Optional(BaselineSnapshot),
  /** The detector is judged by whoever takes it up. */
  drift: Type.Optional(Type.Object({ reference: Type.String({ maxLength: 128 }), detector: Type.Unknown() })),
});
export type FrozenBaseline = Static<typeof FrozenBaseline>;

const closed = { additionalProperties: false } as const;
/** The same where unknown members are refused. */
const ReportedBaseline = Type.Object(
  {
    form: FrozenBaseline.properties.form,
    features: Type.Optional(Type.Object(BaselineSnapshot.properties, closed)),
    drift: Type.Optional(Type.Object({ reference: Type.String({ maxLength: 128 }), detector: Type.Unknown() }, closed)),
  },
  closed,
);

/** Body of `POST /v1/device/baselines`: sent when a baseline has changed, and kept for a device that may take its place. */
export const BaselineReport = Type.Object(
  {
    model: Name,
    asset: Name,
    /** The device this baseline was taken over from, when it was. */
    adopted: Type.Optional(Name),
    baseline: ReportedBaseline,
  },
  closed,
);
export type BaselineReport = Static<typeof BaselineReport>;

/** `down/baseline`: what the device this one replaced knew of an asset; sent at each connect until it was taken over. */
export const CarriedBaseline = Type.Object({
  v: Type.Literal(1),
  model: Name,
  asset: Name,
  from: Name,
  baseline: FrozenBaseline,
});
export type CarriedBaseline = Static<typeof CarriedBaseline>;
export const carriedBaseline = validator("The carried baseline", CarriedBaseline);
