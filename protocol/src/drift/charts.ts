import type { ChartVerdict } from "../messages/drift.ts";
import type { ChartReference, DriftReference } from "../reference/drift-reference.ts";

/** One window's standardised distance counts as at most so much: a single wild window is no drift. */
export const DISTANCE_MAX = 4;
const MONTH_MS = 30 * 86_400_000;

/**
 * A window's standardised distance from what the reference expects of this asset: its own first windows shift the
 * centre by the share of their distance that lasts.
 */
export function distanceOf(chart: ChartReference, value: number, own: number): number {
  const shift = Number.isNaN(own) ? 0 : chart.lasting * (own - chart.centre);
  const distance = (value - chart.centre - shift) / chart.scale;
  return Math.max(-DISTANCE_MAX, Math.min(DISTANCE_MAX, distance));
}

/** One side's next CUSUM (Page, 1954): what lies beyond the allowance adds up, what lies below takes it back. */
export function nextSum(sum: number, distance: number, allowance: number): number {
  // A missing statistic changes nothing.
  return Number.isNaN(distance) ? sum : Math.max(0, sum + distance - allowance);
}

/**
 * The alarm limit for a false-alarm rate per device and month of 30 days of source time: peaks above x come
 * exp((location - x) / scale) times in so many windows of one asset, and in proportion over more windows and assets.
 */
export function alarmLimit(
  { limit, rowMs, windowVectors }: Pick<DriftReference, "limit" | "rowMs" | "windowVectors">,
  assets: number,
  falseAlarmsPerDeviceMonth = limit.falseAlarmsPerDeviceMonth,
): number {
  const windowsPerMonth = Math.max(1, MONTH_MS / (rowMs * windowVectors));
  const more = (windowsPerMonth * Math.max(1, assets)) / limit.windows;
  return Math.max(1, limit.location + limit.scale * Math.log(more / falseAlarmsPerDeviceMonth));
}

/** Peaks per resampling at the two points the law goes through: a limit usually lies between them. */
const OFTEN = 0.7;
const SELDOM = 0.05;
/** The tail of independent windows under the least allowance falls like exp(-2 * 0.5 * x); none falls faster. */
const SCALE_MIN = 1;

/** How often peaks above a height come, as an exponential tail: that of a CUSUM is one (Siegmund, 1985). */
export function peakLaw(
  peaks: readonly number[],
  resamplings: number,
): { readonly location: number; readonly scale: number } {
  const falling = peaks.toSorted((a, b) => b - a);
  const at = (perResampling: number) => falling[Math.floor(perResampling * resamplings)] ?? 0;
  const scale = Math.max(SCALE_MIN, (at(SELDOM) - at(OFTEN)) / Math.log(OFTEN / SELDOM));
  return { location: at(OFTEN) + scale * Math.log(OFTEN), scale };
}

/** A chart's move as people say it. */
export function moveOf({ kind, direction, shift }: ChartVerdict): string {
  if (kind === "mean") return `${direction} ${Math.abs(shift).toFixed(1)} sigma`;
  if (kind === "spread") return direction === "up" ? "scatters more" : "scatters less";
  return direction === "up" ? "rises faster than it should" : "falls faster than it should";
}
