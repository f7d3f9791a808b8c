import { uniform } from "./random.ts";

export const SENSOR_FAULTS = ["stuck", "drift", "dropout", "spikes"] as const;
export type SensorFault = (typeof SENSOR_FAULTS)[number];

/** A fault of one sensor, from its first row on. */
export interface SensorEpisode {
  readonly kind: SensorFault;
  readonly from: number;
  readonly rows: number;
}

/** At most one episode begins, and ends, in each block of this many rows. */
const BLOCK_ROWS = 400;
const ROWS_MAX = 30;

/**
 * The sensor fault of one channel at a row, if there is one: stuck (the reading of its first row stays), drift (it
 * wanders off), dropout (no reading), spikes (single wild readings). Independent of the machine's own faults.
 */
export function sensorFaultAt(
  key: number,
  channel: number,
  index: number,
  per10000Rows: number,
): SensorEpisode | undefined {
  const block = Math.floor(index / BLOCK_ROWS);
  const stream = 1_000 + channel * 10;
  if (uniform(key, stream, block) >= (per10000Rows * BLOCK_ROWS) / 10_000) return undefined;
  const rows = 5 + Math.floor(uniform(key, stream + 1, block) * (ROWS_MAX - 5));
  const from = block * BLOCK_ROWS + Math.floor(uniform(key, stream + 2, block) * (BLOCK_ROWS - rows));
  if (index < from || index >= from + rows) return undefined;
  return { kind: SENSOR_FAULTS[Math.floor(uniform(key, stream + 3, block) * 4)]!, from, rows };
}

/** Whether a row of an episode of spikes is one: about one in four, the first always. */
export function isSpike(key: number, channel: number, index: number, episode: SensorEpisode): boolean {
  return index === episode.from || uniform(key, 1_004 + channel * 10, index) < 0.25;
}
