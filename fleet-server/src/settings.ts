import { integer, oneOf, validator } from "@bellwether/protocol/schema.ts";
import { type Static, Type } from "typebox";
import { PRESENCE_RULE } from "./devices/presence.ts";
import { RETAINED, type Retained } from "./store/retention.ts";

type DaysName = `${Retained}Days`;
/** Days a class of records is kept; 0 is for ever. */
const Days = Type.Optional(integer({ minimum: 0, maximum: 36_500 }));
/** Rows and predictions for a year and what it takes to look back on it; figures per hour for as long as a machine lives. */
const RETENTION_DAYS: Readonly<Record<Retained, number>> = {
  telemetry: 400,
  predictions: 400,
  events: 800,
  drift: 400,
  samples: 400,
  deadLetters: 90,
  minutes: 400,
  hours: 7_300,
};

const closed = { additionalProperties: false } as const;

/** What `bellwether up --config FILE` may say (YAML). Everything has a default. */
export const SettingsFile = Type.Object(
  {
    presence: Type.Optional(
      Type.Object(
        {
          lateAfterHeartbeats: Type.Optional(Type.Number({ minimum: 1, maximum: 10_000 })),
          offlineAfterHeartbeats: Type.Optional(Type.Number({ minimum: 1, maximum: 10_000 })),
        },
        closed,
      ),
    ),
    rollouts: Type.Optional(
      Type.Object({ tickMs: Type.Optional(integer({ minimum: 100, maximum: 3_600_000 })) }, closed),
    ),
    drift: Type.Optional(Type.Object({ tickMs: Type.Optional(integer({ minimum: 100, maximum: 3_600_000 })) }, closed)),
    retraining: Type.Optional(
      Type.Object({ tickMs: Type.Optional(integer({ minimum: 100, maximum: 3_600_000 })) }, closed),
    ),
    broker: Type.Optional(
      Type.Object(
        {
          connectionsMax: Type.Optional(integer({ minimum: 1, maximum: 1_000_000 })),
          /** What one device may send in a minute; any amount where nothing is said. */
          messagesPerMinute: Type.Optional(integer({ minimum: 1, maximum: 1e9 })),
          bytesPerMinute: Type.Optional(integer({ minimum: 1_024, maximum: 1e12 })),
        },
        closed,
      ),
    ),
    history: Type.Optional(Type.Object({ bytesMax: Type.Optional(integer({ minimum: 1, maximum: 2 ** 50 })) }, closed)),
    retention: Type.Optional(
      Type.Object(
        Object.fromEntries(RETAINED.map((name) => [`${name}Days`, Days])) as Record<DaysName, typeof Days>,
        closed,
      ),
    ),
    journal: Type.Optional(Type.Object({ dir: Type.Optional(Type.String({ minLength: 1, maxLength: 4096 })) }, closed)),
    log: Type.Optional(oneOf(["silent", "error", "warn", "info", "debug"])),
  },
  closed,
);
export const settingsFile = validator("The server's configuration", SettingsFile);

/** The settings with every default filled in. */
export function settingsOf(file: Static<typeof SettingsFile>) {
  return {
    presence: { ...PRESENCE_RULE, ...file.presence },
    driftTickMs: file.drift?.tickMs ?? 5_000,
    retrainingTickMs: file.retraining?.tickMs ?? 5_000,
    rolloutTickMs: file.rollouts?.tickMs ?? 2_000,
    broker: { ...file.broker },
    /** All uploads and imported histories together. */
    historyBytesMax: file.history?.bytesMax ?? 8 * 1024 ** 3,
    retentionDays: Object.fromEntries(
      RETAINED.map((name) => [name, file.retention?.[`${name}Days`] ?? RETENTION_DAYS[name]]),
    ) as Record<Retained, number>,
    /** Where changes are kept outside the store; undefined: beside the data directory. */
    journalDir: file.journal?.dir,
    log: file.log ?? "info",
  };
}
export type Settings = ReturnType<typeof settingsOf>;
