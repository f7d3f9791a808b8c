import { AssetDrift } from "../../agent/src/inference/drift.ts";
import type { HistorySnapshot } from "../../fleet-server/src/retraining/history/snapshot.ts";
import {
  type CalibrationOptions,
  calibrateDrift,
  type ReferenceSequence,
} from "../../protocol/src/drift/calibration.ts";
import type { DriftRecord } from "../../protocol/src/messages/drift.ts";
import { type Random, seededRandom } from "../../protocol/src/random.ts";
import type { DriftReference } from "../../protocol/src/reference/drift-reference.ts";

export const PUMP_START_MS = Date.UTC(2026, 0, 1);
export const PUMP_NAMES = ["speed", "heat", "vibration", "label"] as const;
export const PUMP_CHANNELS = [
  { channel: "heat", unit: "Cel", min: 40, max: 80, missing: 0, stuckRows: 2 },
  { channel: "vibration", unit: "mm/s", min: 1, max: 9, missing: 0.1, stuckRows: 1 },
];

/**
 * One life of a pump in two regimes that wears out: heat and vibration rise with wear, and the score, as a model would
 * predict it, falls from 100 to 0. `offset` is the pump's own; `change` is added to heat from row `changeAt` on.
 */
export function pumpLife(
  random: Random,
  rows: number,
  { offset = 0, change = 0, changeAt = 0 }: { offset?: number; change?: number; changeAt?: number } = {},
): ReferenceSequence {
  const noise = () => random.next() + random.next() + random.next() - 1.5;
  const scores = new Float64Array(rows);
  const vectors = Array.from({ length: rows }, (_, row) => {
    const wear = row / rows;
    const speed = random.next() < 0.5 ? 1_000 : 2_000;
    scores[row] = 100 * (1 - wear) + 4 * noise();
    const heat = 50 + speed / 200 + 8 * wear + offset + noise() + (row >= changeAt ? change : 0);
    return Float64Array.of(speed + noise(), heat, 2 + 3 * wear + 0.4 * noise(), 7);
  });
  return { vectors, scores };
}

/** A reference of twelve such pumps. */
export function pumpReference(): DriftReference {
  return referenceOf(twelvePumps(), { names: PUMP_NAMES, regimes: { features: ["speed"], count: 2 } });
}

/** A reference of twelve such pumps of which the model knows the heat alone, under this name. */
export function heatReference(name: string): DriftReference {
  return referenceOf(twelvePumps().map(heatOf), { names: [name] });
}

/** A life of which only the heat is known. */
export function heatOf({ vectors, scores }: ReferenceSequence): ReferenceSequence {
  return { vectors: vectors.map((vector) => [vector[1]!]), scores };
}

/** The lives such references are made of. */
export function twelvePumps(): ReferenceSequence[] {
  const random = seededRandom(3, 0);
  return Array.from({ length: 12 }, (_, i) => pumpLife(random, 400, { offset: 0.3 * (i % 3) }));
}

function referenceOf(lives: readonly ReferenceSequence[], options: Pick<CalibrationOptions, "names" | "regimes">) {
  const reference = calibrateDrift(lives, {
    ...options,
    windowVectors: 20,
    rowMs: 1_000,
    channels: PUMP_CHANNELS,
    seed: 1,
  });
  if (reference === undefined) throw new Error("twelve pumps were not enough for a reference");
  return reference;
}

/** Such pumps as a history: one life each, with a service counter, a row a minute. */
export function pumpHistory(assets = 8, rows = 240, seed = 5): HistorySnapshot {
  const random = seededRandom(seed, 0);
  const names = ["speed", "heat", "vibration"];
  return {
    channels: [
      { channel: "speed", unit: "/min" },
      { channel: "heat", unit: "Cel" },
      { channel: "vibration", unit: "mm/s" },
      { channel: "hours", unit: "h" },
    ],
    target: undefined,
    sources: [],
    assets: Array.from({ length: assets }, (_, i) => {
      const { vectors } = pumpLife(random, rows);
      const timesMs = Float64Array.from(vectors, (_vector, row) => row * 60_000);
      return {
        asset: `pump-${i + 1}`,
        timesMs,
        channels: [
          ...names.map((_name, c) => Float64Array.from(vectors, (vector) => vector[c]!)),
          timesMs.map((atMs) => atMs / 3_600_000),
        ],
        target: undefined,
        failuresMs: Float64Array.of(timesMs.at(-1)!),
      };
    }),
  };
}

/** Drift records of one pump's life as an agent makes them, against {@link pumpReference}. */
export function pumpRecords(
  asset: string,
  life: ReferenceSequence,
  {
    reference = pumpReference(),
    digest = `sha256:${"a".repeat(64)}`,
    spoil = (_row: Float64Array, _i: number) => {},
  } = {},
): DriftRecord[] {
  const channels = PUMP_CHANNELS.map(({ channel }) => channel);
  const names = reference.features.length === 1 ? reference.features : PUMP_NAMES;
  const drift = new AssetDrift({ reference, digest, names, channels, assets: 1 });
  return life.vectors.flatMap((vector, i) => {
    const row = Float64Array.of(vector[1] ?? vector[0]!, vector[2] ?? 5);
    spoil(row, i);
    const atMs = PUMP_START_MS + i * reference.rowMs;
    drift.row(atMs, atMs, row);
    const closed = drift.vector(atMs, Float64Array.from(vector), life.scores[i]!, 0);
    return closed === undefined ? [] : [{ asset, model: "pump-rul", version: 1, digest, ...closed }];
  });
}
