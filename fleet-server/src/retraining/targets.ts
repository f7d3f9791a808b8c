import { err, ok, type Result } from "@bellwether/protocol/result.ts";
import { integer } from "@bellwether/protocol/schema.ts";
import { type Static, Type } from "typebox";
import type { HistoryAsset, HistorySnapshot } from "./history/snapshot.ts";

const closed = { additionalProperties: false } as const;
const horizon = { minimum: 1, maximum: 1_000_000 };

/** What a model learns to say. */
export const TargetSpec = Type.Union([
  Type.Object(
    {
      kind: Type.Literal("rul"),
      cap: Type.Number({ exclusiveMinimum: 0, maximum: 1e9, description: "Remaining life beyond it counts as it." }),
      in: Type.Optional(Type.Union([Type.Literal("rows"), Type.Literal("hours")])),
    },
    { ...closed, description: "Remaining useful life until the next failure." },
  ),
  Type.Object(
    { kind: Type.Literal("binary"), horizonRows: integer(horizon) },
    { ...closed, description: "Probability of a failure within so many rows." },
  ),
  Type.Object(
    { kind: Type.Literal("binary"), horizonHours: Type.Number({ exclusiveMinimum: 0, maximum: 1e6 }) },
    { ...closed, description: "Probability of a failure within so many hours." },
  ),
  Type.Object(
    { kind: Type.Literal("binary"), column: Type.String({ minLength: 1, maxLength: 200 }) },
    { ...closed, description: "Probability that the history's target column, of zeros and ones, is one." },
  ),
  Type.Object(
    {
      kind: Type.Literal("column"),
      column: Type.String({ minLength: 1, maxLength: 200 }),
      meaning: Type.Optional(Type.Union([Type.Literal("rul"), Type.Literal("score"), Type.Literal("value")])),
      unit: Type.Optional(Type.String({ maxLength: 32 })),
    },
    { ...closed, description: "The history's target column." },
  ),
]);
export type TargetSpec = Static<typeof TargetSpec>;

const HOUR_MS = 3_600_000;

/** What a history has to learn from: the name of its target column, and how many failures it knows. */
export interface TargetFacts {
  readonly target: string | undefined;
  readonly failures: number;
}

/** Whether a history has what the target is made of; says what it has instead. */
export function hasTarget(history: string, { target, failures }: TargetFacts, spec: TargetSpec): Result<void> {
  const column = target === undefined ? "no target column" : `the target column ${target}`;
  const known = failures === 1 ? "1 failure" : `${failures || "no"} failures`;
  const missing = (wanted: string) =>
    err("TRAINING_TARGET_MISSING", { history, target: wanted, reason: `it has ${column} and knows of ${known}` });
  if ("column" in spec) return target === spec.column ? ok(undefined) : missing(spec.column);
  return failures > 0 ? ok(undefined) : missing(spec.kind);
}

/** Whether a history can give the target at all, its rows looked at; says what it lacks. */
export function checkTarget(history: string, snapshot: HistorySnapshot, spec: TargetSpec): Result<void> {
  const missing = (target: string, reason: string) => err("TRAINING_TARGET_MISSING", { history, target, reason });
  const failures = snapshot.assets.reduce((sum, { failuresMs }) => sum + failuresMs.length, 0);
  const holds = hasTarget(history, { target: snapshot.target, failures }, spec);
  if (!holds.ok || !isBinary(spec)) return holds;
  const seen = new Set<number>();
  for (const asset of snapshot.assets) for (const y of targetsOf(asset, spec)) if (!Number.isNaN(y)) seen.add(y);
  const other = [...seen].find((y) => y !== 0 && y !== 1);
  if (other !== undefined) return missing(spec.kind, `its target column holds ${other}, not only 0 and 1`);
  if (seen.size < 2) return missing(spec.kind, "all its rows are of one class");
  return ok(undefined);
}

/** Whether the target is a probability. */
export function isBinary(spec: TargetSpec): boolean {
  return spec.kind === "binary";
}

/**
 * The target of each row of an asset, NaN where the history does not say: after the last failure nobody knows how long
 * the machine still lived, and near the end of what is recorded nobody knows whether it failed within the horizon.
 */
export function targetsOf(asset: HistoryAsset, spec: TargetSpec): Float64Array {
  if ("column" in spec) {
    return asset.target ?? new Float64Array(asset.timesMs.length).fill(Number.NaN);
  }
  const lives = livesOf(asset);
  return spec.kind === "rul" ? remainingLife(asset, lives, spec) : withinHorizon(asset, lives, spec);
}

/** One life of an asset: rows `from` to `last`, and the failure that ended it, if one did. */
export interface Life {
  readonly from: number;
  readonly last: number;
  readonly failedAtMs: number | undefined;
}

/** The lives of an asset. A row at the very time of a failure still belongs to the life that failed. */
export function livesOf({ timesMs, failuresMs }: Pick<HistoryAsset, "timesMs" | "failuresMs">): Life[] {
  const lives: Life[] = [];
  let from = 0;
  for (const failedAtMs of failuresMs) {
    let last = from - 1;
    while (last + 1 < timesMs.length && timesMs[last + 1]! <= failedAtMs) last += 1;
    if (last < from) continue;
    lives.push({ from, last, failedAtMs });
    from = last + 1;
  }
  if (from < timesMs.length) lives.push({ from, last: timesMs.length - 1, failedAtMs: undefined });
  return lives;
}

function remainingLife(
  { timesMs }: HistoryAsset,
  lives: readonly Life[],
  spec: Extract<TargetSpec, { kind: "rul" }>,
): Float64Array {
  const targets = new Float64Array(timesMs.length).fill(Number.NaN);
  for (const { from, last, failedAtMs } of lives) {
    if (failedAtMs === undefined) continue;
    for (let row = from; row <= last; row += 1) {
      const left = spec.in === "hours" ? (failedAtMs - timesMs[row]!) / HOUR_MS : last - row;
      targets[row] = Math.min(spec.cap, left);
    }
  }
  return targets;
}

function withinHorizon(
  { timesMs }: HistoryAsset,
  lives: readonly Life[],
  spec: { readonly horizonRows: number } | { readonly horizonHours: number },
): Float64Array {
  const targets = new Float64Array(timesMs.length).fill(Number.NaN);
  for (const { from, last, failedAtMs } of lives) {
    const endMs = failedAtMs ?? timesMs[last]!;
    for (let row = from; row <= last; row += 1) {
      const inside =
        "horizonRows" in spec ? last - row < spec.horizonRows : endMs - timesMs[row]! < spec.horizonHours * HOUR_MS;
      if (!inside) targets[row] = 0;
      else if (failedAtMs !== undefined) targets[row] = 1;
    }
  }
  return targets;
}
