import { integer } from "@bellwether/protocol/schema.ts";
import { type Static, Type } from "typebox";

const closed = { additionalProperties: false } as const;
const Nullable = <T extends Parameters<typeof Type.Union>[0][number]>(schema: T) => Type.Union([schema, Type.Null()]);

const Snapshot = Type.Object(
  {
    id: Type.String(),
    digest: Type.String(),
    label: Nullable(Type.String()),
    origin: Type.Union([Type.Literal("imported"), Type.Literal("fleet")]),
    rows: integer(),
    assets: integer(),
    failures: integer(),
    createdAtMs: integer(),
    createdBy: Type.String(),
    request: Type.Unknown(),
  },
  closed,
);

/** Where a prediction comes from, as far back as this server knows. */
export const Lineage = Type.Object(
  {
    prediction: Type.Object(
      {
        id: integer(),
        device: Type.String(),
        asset: Type.String(),
        observedAtMs: integer(),
        value: Nullable(Type.Number()),
      },
      closed,
    ),
    model: Type.Object(
      {
        model: Type.String(),
        version: integer(),
        digest: Type.String(),
        phase: Type.String(),
        trainer: Type.String(),
        seed: Nullable(integer()),
        parent: Type.Union([Type.String(), Type.Null()], { description: "Digest of the version it replaced." }),
        createdAtMs: integer(),
        createdBy: Type.String(),
      },
      closed,
    ),
    run: Nullable(
      Type.Object(
        {
          kind: Type.Union([Type.Literal("training"), Type.Literal("retraining")]),
          id: Type.String(),
          createdAtMs: integer(),
          createdBy: Type.String(),
          request: Type.Unknown(),
        },
        closed,
      ),
    ),
    /** What was learnt from: the data snapshot, and for a retrained version the history of its champion as well. */
    snapshots: Type.Array(Snapshot),
    /** Who let devices run it; null for a version that nobody released. */
    approver: Nullable(Type.Object({ by: Type.String(), atMs: integer(), scope: Type.String() }, closed)),
  },
  closed,
);
export type Lineage = Static<typeof Lineage>;
