import { Name } from "@bellwether/protocol/ids.ts";
import { integer } from "@bellwether/protocol/schema.ts";
import { type Static, Type } from "typebox";

const closed = { additionalProperties: false } as const;
const Count = integer({ minimum: 0 });
const Time = integer({ description: "Milliseconds since 1970 UTC." });
const Figure = Type.Union([Type.Number(), Type.Null()]);

/** What an import found in a channel. */
export const ChannelReport = Type.Object(
  {
    channel: Name,
    unit: Type.String({ description: "UCUM code." }),
    unitDeclared: Type.Boolean({ description: "False where neither the file nor the request names a unit." }),
    column: Type.String({ description: "The column's own name in the file." }),
    values: Count,
    missing: integer({ minimum: 0, description: "Empty cells." }),
    nonNumeric: integer({ minimum: 0, description: "Cells that are no number; they count as missing." }),
    nonNumericExample: Type.Optional(Type.String({ description: "The first of them, with its line." })),
    min: Figure,
    max: Figure,
    mean: Figure,
    constant: Type.Boolean(),
  },
  closed,
);
export type ChannelReport = Static<typeof ChannelReport>;

const Gap = Type.Object({ asset: Name, fromMs: Time, toMs: Time }, closed);

/** What an import found in the files: what a person must look at before anything is learnt from them. */
export const HistoryReport = Type.Object(
  {
    rows: Count,
    assets: Count,
    failures: integer({ minimum: 0, description: "Failures of these assets, those at the end included." }),
    assetsWithoutFailure: Count,
    fromMs: Time,
    toMs: Time,
    timeKind: Type.String({ description: "How the file writes its times." }),
    timeZone: Type.Union([Type.String(), Type.Null()]),
    ambiguousTimes: integer({ minimum: 0, description: "Times that the zone's clock showed twice." }),
    intervalMs: Type.Union([Time, Type.Null()], { description: "Median time between rows of an asset." }),
    gaps: integer({ minimum: 0, description: "Pauses of an asset longer than five intervals." }),
    largestGaps: Type.Array(Gap, { maxItems: 20 }),
    duplicates: integer({
      minimum: 0,
      description: "Rows that say the same of the same asset and time; one is kept.",
    }),
    contradictions: integer({
      minimum: 0,
      description: "Rows that say something else of the same asset and time; the first is kept.",
    }),
    outOfOrder: integer({ minimum: 0, description: "Rows older than the one before; they were put in order." }),
    channels: Type.Array(ChannelReport),
    ignored: Type.Array(Type.Object({ column: Type.String(), reason: Type.String() }, closed)),
    target: Type.Union([
      Type.Object({ column: Type.String(), values: Count, missing: Count, min: Figure, max: Figure }, closed),
      Type.Null(),
    ]),
    warnings: Type.Array(Type.String(), { description: "What a person should look at." }),
  },
  closed,
);
export type HistoryReport = Static<typeof HistoryReport>;
