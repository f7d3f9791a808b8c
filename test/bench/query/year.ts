import { MINUTE_MS } from "../../../fleet-server/src/series/figures.ts";

/** A year of minutes of one channel, two samples in each. */
export const MINUTES = 365 * 24 * 60;
export const FROM_MS = Date.UTC(2025, 0, 1);
export const TO_MS = FROM_MS + MINUTES * MINUTE_MS;
/** Points a plot has room for. The step is no whole hour: it can only come from the figures per minute. */
export const POINTS = 2_000;
export const STEP_MS = Math.ceil(MINUTES / POINTS) * MINUTE_MS;
/** Questions of one round; the first ones warm up. */
export const ASKED = 120;
export const WARM_UP = 20;

/** What a slow sensor with two decimals says in a minute: its two values. */
export function valuesOf(minute: number): [number, number] {
  const value = 40 + 10 * Math.sin(minute / 700) + 3 * Math.sin(minute / 11);
  return [Math.round(value * 100) / 100, Math.round((value + 0.3 * Math.sin(minute)) * 100) / 100];
}

/** The 95th percentile. */
export function p95(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.ceil(values.length * 0.95) - 1] as number;
}
