import { Name } from "@bellwether/protocol/ids.ts";
import { AlertRule } from "@bellwether/protocol/package/manifest.ts";
import { integer } from "@bellwether/protocol/schema.ts";
import { type Static, Type } from "typebox";
import { DriftOptions } from "./drift.ts";
import { FeatureOptions } from "./features.ts";
import { Evaluation } from "./metrics.ts";
import { TargetSpec } from "./targets.ts";
import { GbdtOptions } from "./trainers/parameters.ts";

const closed = { additionalProperties: false } as const;

/** A request for a training run. */
export const TrainingRequest = Type.Object(
  {
    history: Type.String({ minLength: 1, maxLength: 80, description: "Id, label or digest of an imported history." }),
    model: Name,
    target: TargetSpec,
    parameters: Type.Optional(GbdtOptions),
    features: Type.Optional(FeatureOptions),
    seed: Type.Optional(integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER })),
    /** Assets the model never learns from; without it a fifth is drawn to measure, and the final model learns from all. */
    holdoutAssets: Type.Optional(Type.Array(Name, { minItems: 1, maxItems: 10_000 })),
    alert: Type.Optional(AlertRule),
    drift: Type.Optional(DriftOptions),
    description: Type.Optional(Type.String({ maxLength: 2_000 })),
  },
  closed,
);
export type TrainingRequest = Static<typeof TrainingRequest>;

export const TRAINING_PHASES = ["queued", "running", "succeeded", "failed", "cancelled"] as const;
export type TrainingPhase = (typeof TRAINING_PHASES)[number];

/** Where a run stands. */
export const TrainingProgress = Type.Object(
  {
    step: Type.Union([
      Type.Literal("preparing"),
      Type.Literal("evaluating"),
      Type.Literal("growing"),
      Type.Literal("calibrating"),
      Type.Literal("packaging"),
      Type.Literal("registering"),
    ]),
    /** Share of the whole run that is done. */
    done: Type.Number({ minimum: 0, maximum: 1 }),
    tree: Type.Optional(integer()),
    trees: Type.Optional(integer()),
    loss: Type.Optional(Type.Number()),
    watchedLoss: Type.Optional(Type.Number()),
  },
  closed,
);
export type TrainingProgress = Static<typeof TrainingProgress>;

/** What a run found out. */
export const TrainingSummary = Type.Object(
  {
    rows: integer({ description: "Rows learnt from." }),
    assets: integer({ description: "Assets learnt from." }),
    holdoutAssets: Type.Array(Name, { description: "Assets the figures below were measured on." }),
    refit: Type.Boolean({
      description:
        "True: after measuring, the released model was grown the same way on all assets. False: it never saw the held-out ones.",
    }),
    thinnedBy: integer({ description: "Every n-th row was kept, to stay within memory." }),
    evaluation: Evaluation,
    trees: integer(),
    features: Type.Array(Type.Object({ name: Type.String(), importance: Type.Number() }, closed), {
      description: "Features the trees use, by their share of the gain.",
    }),
    notes: Type.Array(Type.String()),
  },
  closed,
);
export type TrainingSummary = Static<typeof TrainingSummary>;

/** A training run as its thread gets it. */
export interface TrainingOrder {
  readonly run: string;
  readonly request: TrainingRequest;
  /** Digest of the history's snapshot. */
  readonly snapshot: string;
  /** Manifest digest of the version this one is to replace. */
  readonly parent?: string;
}
