import { integer } from "@bellwether/protocol/schema.ts";
import { type Static, Type } from "typebox";

const fraction = (description: string) => Type.Optional(Type.Number({ exclusiveMinimum: 0, maximum: 1, description }));

/** What may be set of the gradient-boosted trees; what is absent has the default of {@link GBDT_DEFAULTS}. */
export const GbdtOptions = Type.Object(
  {
    trees: Type.Optional(integer({ minimum: 1, maximum: 5_000, description: "Most trees." })),
    learningRate: Type.Optional(Type.Number({ exclusiveMinimum: 0, maximum: 1, description: "Share of each tree." })),
    leaves: Type.Optional(integer({ minimum: 2, maximum: 1_024, description: "Most leaves of a tree." })),
    depth: Type.Optional(integer({ minimum: 1, maximum: 32, description: "Most branches above a leaf." })),
    minChildRows: Type.Optional(integer({ minimum: 1, maximum: 1_000_000, description: "Fewest rows of a leaf." })),
    minChildHessian: Type.Optional(Type.Number({ minimum: 0, description: "Least sum of hessians of a leaf." })),
    minGain: Type.Optional(Type.Number({ minimum: 0, description: "Least gain of a branch." })),
    l2: Type.Optional(Type.Number({ minimum: 0, maximum: 1e9, description: "Penalty on leaf values." })),
    rowFraction: fraction("Rows each tree sees, drawn anew."),
    featureFraction: fraction("Features each tree sees, drawn anew; ten at least."),
    bins: Type.Optional(integer({ minimum: 4, maximum: 255, description: "Most bins of a feature." })),
    huberDelta: Type.Optional(
      Type.Number({ exclusiveMinimum: 0, description: "Huber loss: error, in the target's unit, that counts as far." }),
    ),
    loss: Type.Optional(
      Type.Union([Type.Literal("squared"), Type.Literal("huber")], { description: "Loss of a regression." }),
    ),
    earlyStopping: Type.Optional(
      Type.Object(
        {
          rounds: integer({ minimum: 1, maximum: 1_000, description: "Trees without a gain before it stops." }),
          assetFraction: Type.Number({ exclusiveMinimum: 0, maximum: 0.5, description: "Share of assets it watches." }),
        },
        { additionalProperties: false },
      ),
    ),
  },
  { additionalProperties: false },
);
export type GbdtOptions = Static<typeof GbdtOptions>;

export type GbdtParameters = Required<Omit<GbdtOptions, "earlyStopping">> & Pick<GbdtOptions, "earlyStopping">;

/** Chosen by cross-validation over whole engines of C-MAPSS train_FD001: docs/decisions/0080. */
export const GBDT_DEFAULTS: GbdtParameters = {
  trees: 300,
  learningRate: 0.05,
  leaves: 16,
  depth: 6,
  minChildRows: 20,
  minChildHessian: 0,
  minGain: 0,
  l2: 1,
  rowFraction: 0.4,
  featureFraction: 0.6,
  bins: 255,
  huberDelta: 25,
  loss: "squared",
};
