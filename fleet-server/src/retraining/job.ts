import type { Problem } from "@bellwether/protocol/errors.ts";
import { Name } from "@bellwether/protocol/ids.ts";
import { integer, oneOf } from "@bellwether/protocol/schema.ts";
import { type Static, Type } from "typebox";
import { RetrainingResult } from "./retrain.ts";

/**
 * Where a retraining stands. A stop of the server loses nothing: what was under way begins again from what is kept.
 * proposed waits for a person; rejected: no candidate won, or a person said no.
 */
export const RETRAINING_PHASES = [
  "requested",
  "training",
  "proposed",
  "releasing",
  "rollingOut",
  "released",
  "rejected",
  "failed",
] as const;
export type RetrainingPhase = (typeof RETRAINING_PHASES)[number];

const OPEN: ReadonlySet<RetrainingPhase> = new Set(["requested", "training", "proposed", "releasing", "rollingOut"]);

/** Whether something can still become of it. */
export function isOpen(phase: RetrainingPhase): boolean {
  return OPEN.has(phase);
}

const closed = { additionalProperties: false } as const;
const Text = Type.String({ maxLength: 64 });
const Nullable = <T extends Parameters<typeof Type.Union>[0][number]>(schema: T) => Type.Union([schema, Type.Null()]);
const Time = integer({ minimum: 0 });

/** What a rollout after a retraining may be told beside its version and cohort: see `POST /v1/rollouts`. */
export const RolloutOptions = Type.Object(
  {
    waves: Type.Optional(Type.Array(Type.Unknown(), { minItems: 1, maxItems: 50 })),
    confirm: Type.Optional(Type.Unknown()),
    gateTimeoutMinutes: Type.Optional(Type.Number({ exclusiveMinimum: 0 })),
  },
  closed,
);

const terms = {
  /** propose: a person releases it. auto: it is released for this cohort and rolled out to it by itself. */
  mode: oneOf(["propose", "auto"]),
  holdoutAssets: Type.Array(Name, {
    maxItems: 10_000,
    description: "Assets it never learns from and is not measured on.",
  }),
  rollout: RolloutOptions,
};

/** When a model is retrained for a cohort by itself. */
export const RetrainingPolicy = Type.Object(
  {
    model: Name,
    cohort: Name,
    ...terms,
    labelledAssetsMin: integer({
      minimum: 3,
      maximum: 100_000,
      description: "Assets with a failure since the change, before it begins.",
    }),
    updatedAtMs: integer(),
    updatedBy: Type.String(),
  },
  closed,
);
export type RetrainingPolicy = Static<typeof RetrainingPolicy>;
export const LABELLED_ASSETS_MIN = 3;

/** One retraining of a model for a cohort, from the wish to the rollout. */
export const Retraining = Type.Object(
  {
    id: Text,
    model: Name,
    cohort: Name,
    ...terms,
    trigger: oneOf(["asked", "drift"]),
    phase: oneOf(RETRAINING_PHASES),
    /** When the process changed, by the source's clock; rows before it tell nothing. */
    sinceMs: Nullable(Time),
    cutOffMs: integer(),
    knownAtMs: integer(),
    /** Assets with a failure since the change when it began. */
    labelledAssets: integer(),
    champion: Type.Object({ version: integer(), digest: Type.String(), run: Type.String() }, closed),
    /** Id of the cohort's history. */
    history: Nullable(Type.String()),
    result: Nullable(RetrainingResult),
    version: Nullable(integer()),
    digest: Nullable(Type.String()),
    /** Who let it be released: a person, or the policy. */
    approvedBy: Nullable(Type.String()),
    rolloutId: Nullable(Type.String()),
    error: Nullable(Type.Object({ code: Type.String(), message: Type.String() })),
    createdAtMs: integer(),
    createdBy: Type.String(),
    updatedAtMs: integer(),
  },
  closed,
);
export type Retraining = Omit<Static<typeof Retraining>, "error"> & { readonly error: Problem | null };

/** What may change of a retraining. */
export type RetrainingChange = Partial<
  Pick<Retraining, "phase" | "history" | "result" | "version" | "digest" | "approvedBy" | "rolloutId" | "error">
>;
