import { Digest, Name, TimeMs } from "@bellwether/protocol/ids.ts";
import { integer, mapOf, oneOf } from "@bellwether/protocol/schema.ts";
import { type Static, Type } from "typebox";
import { TIME_FORMATS } from "./times.ts";

export const HISTORY_FORMATS = ["auto", "csv", "cmapss"] as const;
const Column = Type.String({ minLength: 1, maxLength: 200 });

/** An uploaded file, and what its owner calls it. */
const Upload = Type.Object(
  { digest: Digest, fileName: Type.Optional(Type.String({ minLength: 1, maxLength: 200 })) },
  { additionalProperties: false },
);

/** How uploaded files are to be read; every member but `samples` has a default. */
export const HistoryRequest = Type.Object(
  {
    samples: Upload,
    failures: Type.Optional(Upload),
    label: Type.Optional(Name),
    format: Type.Optional(oneOf(HISTORY_FORMATS)),
    asset: Type.Optional(Name),
    assetColumn: Type.Optional(Column),
    timeColumn: Type.Optional(Column),
    timeFormat: Type.Optional(oneOf(TIME_FORMATS)),
    timeZone: Type.Optional(Type.String({ minLength: 1, maxLength: 64 })),
    targetColumn: Type.Optional(Column),
    ignore: Type.Optional(Type.Array(Column, { maxItems: 1_024 })),
    units: Type.Optional(mapOf(Column, Type.String({ maxLength: 40 }), { maxProperties: 1_024 })),
    unitsRow: Type.Optional(Type.Boolean({ description: "The second line of the samples holds the units." })),
    runToFailure: Type.Optional(Type.Boolean({ description: "Every asset's last row is its failure." })),
    startMs: Type.Optional(TimeMs),
    stepMs: Type.Optional(integer({ minimum: 1, maximum: 366 * 86_400_000 })),
    assetPrefix: Type.Optional(Type.String({ maxLength: 32, pattern: "^[A-Za-z0-9._-]*$" })),
  },
  { additionalProperties: false },
);
export type HistoryRequest = Static<typeof HistoryRequest>;

/** What a history of a cohort's own committed samples was made of. */
export const FleetRequest = Type.Object(
  {
    fleet: Type.Object(
      {
        cohort: Name,
        selector: Type.String(),
        /** Devices the selector selected then. */
        devices: Type.Array(Name),
        /** Channels that were taken, of the model the history is for. */
        model: Name,
        channels: Type.Array(Type.Object({ channel: Name, unit: Type.String() }, { additionalProperties: false })),
        cutOffMs: integer({ description: "Rows and failures up to this time." }),
        knownAtMs: integer({ description: "As it was known at this time: what arrived later does not count." }),
      },
      { additionalProperties: false },
    ),
    label: Type.Optional(Name),
  },
  { additionalProperties: false },
);
export type FleetRequest = Static<typeof FleetRequest>;

/** As the agent's replay input: a cycle of a C-MAPSS engine, or a step, stands for a minute from here on. */
export const DEFAULT_START_MS = Date.UTC(2026, 0, 1);
export const DEFAULT_STEP_MS = 60_000;
