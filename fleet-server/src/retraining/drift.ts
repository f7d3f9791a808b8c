import { calibrateDrift, type ReferenceSequence } from "@bellwether/protocol/drift/calibration.ts";
import { channelReferences } from "@bellwether/protocol/drift/quality.ts";
import type { FeatureManifest } from "@bellwether/protocol/features/program.ts";
import { seededRandom, shuffle } from "@bellwether/protocol/random.ts";
import type { DriftReference } from "@bellwether/protocol/reference/drift-reference.ts";
import { err, ok, type Result } from "@bellwether/protocol/result.ts";
import { integer } from "@bellwether/protocol/schema.ts";
import { type Static, Type } from "typebox";
import type { FeaturePlan } from "./features.ts";
import type { HistorySnapshot } from "./history/snapshot.ts";
import type { PreparedRows } from "./prepare.ts";

/** What may be said about how devices watch for drift; what is absent is chosen by the reference's size. */
export const DriftOptions = Type.Object(
  {
    regimes: Type.Optional(
      Type.Object(
        {
          features: Type.Array(Type.String({ minLength: 1, maxLength: 200 }), { minItems: 1, maxItems: 16 }),
          count: integer({ minimum: 2, maximum: 8 }),
        },
        {
          additionalProperties: false,
          description: "Features that tell operating regimes apart, and how many there are.",
        },
      ),
    ),
    windowVectors: Type.Optional(integer({ minimum: 8, maximum: 100_000 })),
    baselineWindows: Type.Optional(integer({ minimum: 1, maximum: 1_000 })),
    falseAlarmsPerDeviceMonth: Type.Optional(Type.Number({ exclusiveMinimum: 0, maximum: 1_000 })),
  },
  { additionalProperties: false },
);
export type DriftOptions = Static<typeof DriftOptions>;

/** Features that tell regimes apart must be among the model's, and a device must compute them, used by trees or not. */
export function regimePlaces(plan: FeaturePlan, options: DriftOptions | undefined): Result<number[]> {
  const names = plan.manifest.features.map(({ name }) => name);
  const asked = options?.regimes?.features ?? [];
  const unknown = asked.find((name) => !names.includes(name));
  if (unknown !== undefined) return err("NOT_FOUND", { what: "feature of the model", name: unknown });
  return ok(asked.map((name) => names.indexOf(name)));
}

/** The two halves of the assets behind these rows, drawn by the seed: each is scored by a model of the other. */
export function halvesOf({ groups }: PreparedRows, rows: Uint32Array, seed: number): [Uint32Array, Uint32Array] {
  const assets = [...new Set(Array.from(rows, (row) => groups[row]!))];
  const first = new Set(shuffle(assets, seededRandom(seed, 13)).slice(0, Math.ceil(assets.length / 2)));
  return [rows.filter((row) => first.has(groups[row]!)), rows.filter((row) => !first.has(groups[row]!))];
}

/** What the drift part of a reference is made of. */
export interface DriftInput {
  readonly snapshot: HistorySnapshot;
  readonly plan: FeaturePlan;
  readonly prepared: PreparedRows;
  /** Rows of the reference in their order, and the score of each by a model that never saw its asset. */
  readonly rows: Uint32Array;
  readonly scores: Float64Array;
  /** Places in the plan of the features the model's manifest has. */
  readonly used: readonly number[];
  readonly options: DriftOptions | undefined;
  readonly seed: number;
}

/**
 * The drift part of a reference, from the rows a model learnt from; undefined when there are too few in a row. What
 * counts up by itself (age, a service counter) is not charted: it never stays where it was.
 */
export function driftReference(input: DriftInput): DriftReference | undefined {
  const { snapshot, plan, prepared, used, options, seed } = input;
  // Windows must be as dense as a device's.
  if (prepared.thinnedBy > 1) return undefined;
  const features = used.map((f) => plan.manifest.features[f]!);
  const charted = features.filter((feature) => !countsUp(feature, plan.manifest)).map(({ name }) => name);
  const learnt = snapshot.assets.filter((_, group) => input.rows.some((row) => prepared.groups[row] === group));
  return calibrateDrift(sequencesOf(input), {
    names: features.map(({ name }) => name),
    charted,
    ...options,
    rowMs: usualIntervalMs(learnt),
    channels: channelReferences(
      plan.manifest.channels,
      learnt.map(({ channels }) => ({ columns: plan.sources.map((source) => channels[source]!) })),
    ),
    seed,
  });
}

function countsUp({ function: name, channel }: FeatureManifest["features"][number], { restart }: FeatureManifest) {
  return name === "age_rows" || (channel !== undefined && channel === restart?.counter);
}

function sequencesOf({ prepared, rows, scores, used }: DriftInput): ReferenceSequence[] {
  const { matrix, lives } = prepared;
  const sequences = new Map<number, { vectors: Float64Array[]; scores: number[] }>();
  for (const [i, row] of rows.entries()) {
    const life = sequences.get(lives[row]!) ?? { vectors: [], scores: [] };
    sequences.set(lives[row]!, life);
    life.vectors.push(Float64Array.from(used, (f) => matrix.values[f * matrix.rows + row]!));
    life.scores.push(scores[i]!);
  }
  return [...sequences.values()];
}

/** The middle one of all distances in time between an asset's rows. */
function usualIntervalMs(assets: HistorySnapshot["assets"]): number {
  const intervals = assets
    .flatMap(({ timesMs }) => Array.from(timesMs.subarray(1), (atMs, i) => atMs - timesMs[i]!))
    .filter((interval) => interval > 0)
    .toSorted((a, b) => a - b);
  return intervals[intervals.length >> 1] ?? 1_000;
}
