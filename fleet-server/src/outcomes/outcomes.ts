import { Name } from "@bellwether/protocol/ids.ts";
import { integer, oneOf } from "@bellwether/protocol/schema.ts";
import { type Static, Type } from "typebox";

/** What maintenance found. */
export const OUTCOME_KINDS = ["failure", "inspection", "false-alarm"] as const;

/** A clock may be ahead of the server's by so much. */
export const OUTCOME_AHEAD_MS = 300_000;

const closed = { additionalProperties: false } as const;
const said = {
  asset: Name,
  kind: oneOf(OUTCOME_KINDS),
  atMs: integer({ minimum: 0, maximum: 8.64e15, description: "When it was so; milliseconds since 1970 UTC." }),
  note: Type.Optional(Type.String({ maxLength: 2_000 })),
};

/** An outcome as it is reported. */
export const NewOutcome = Type.Object(
  { ...said, site: Type.Optional(Name) },
  { ...closed, description: "Inspections and false alarms say that the asset had not failed then." },
);
export type NewOutcome = Static<typeof NewOutcome>;

/** An outcome as it is kept: never changed, at most taken back. */
export const Outcome = Type.Object(
  {
    id: integer(),
    ...said,
    site: Name,
    by: Type.String(),
    recordedAtMs: integer(),
    retracted: Type.Union([Type.Object({ by: Type.String(), atMs: integer() }, closed), Type.Null()]),
  },
  closed,
);
export type Outcome = Static<typeof Outcome>;

/** Failures by asset as they were known at a time: recorded by then, and not yet taken back. */
export function failuresKnownAt(outcomes: readonly Outcome[], knownAtMs: number): Map<string, number[]> {
  const failures = new Map<string, number[]>();
  for (const { asset, kind, atMs, recordedAtMs, retracted } of outcomes) {
    if (kind !== "failure" || recordedAtMs > knownAtMs) continue;
    if (retracted !== null && retracted.atMs <= knownAtMs) continue;
    failures.set(asset, [...(failures.get(asset) ?? []), atMs]);
  }
  for (const [asset, times] of failures)
    failures.set(
      asset,
      [...new Set(times)].toSorted((a, b) => a - b),
    );
  return failures;
}
