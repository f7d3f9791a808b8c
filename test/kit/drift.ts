import type { HistorySnapshot } from "../../fleet-server/src/retraining/history/snapshot.ts";
import {
  type CalibrationOptions,
  calibrateDrift,
  type ReferenceSequence,
} from "../../protocol/src/drift/calibration.ts";
import { type Random, seededRandom } from "../../protocol/src/random.ts";
import type { DriftReference } from "../../protocol/src/reference/drift-reference.ts";

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
export function pumpReference(options: Partial<CalibrationOptions> = {}): DriftReference {
  const random = seededRandom(3, 0);
  const lives = Array.from({ length: 12 }, (_, i) => pumpLife(random, 400, { offset: 0.3 * (i % 3) }));
  const reference = calibrateDrift(lives, {
    names: PUMP_NAMES,
    regimes: { features: ["speed"], count: 2 },
    windowVectors: 20,
    rowMs: 1_000,
    channels: PUMP_CHANNELS,
    seed: 1,
    ...options,
  });
  if (reference === undefined) throw new Error("twelve pumps were not enough for a reference");
  return reference;
}

/** Such pumps as a history: one life each, with a service counter, a row a minute. */
export function pumpHistory(assets = 8, rows = 240): HistorySnapshot {
  const random = seededRandom(5, 0);
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
