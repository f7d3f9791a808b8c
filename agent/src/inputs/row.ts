import type { ChannelBirth } from "@bellwether/protocol/messages/device.ts";
import type { TelemetryRow } from "@bellwether/protocol/messages/stream.ts";
import { roundToResolution } from "@bellwether/protocol/resolution.ts";
import type { PointConfig } from "../config/config.ts";

type Declared = Pick<PointConfig, "channel" | "resolution" | "range">;

/**
 * One asset's row out of readings: each is rounded to its channel's resolution, once, here, so that device, model and
 * server see the same number. No reading, or one that is no finite number, is a bad sample without a value; one outside
 * its declared range is kept and called uncertain.
 */
export function rowOf(
  asset: string,
  observedAtMs: number,
  readings: Iterable<readonly [Declared, number | null | undefined]>,
): TelemetryRow {
  const values: Record<string, number | null> = {};
  let quality: Record<string, "uncertain" | "bad"> | undefined;
  for (const [{ channel, resolution, range }, reading] of readings) {
    if (typeof reading !== "number" || !Number.isFinite(reading)) {
      values[channel] = null;
      quality = { ...quality, [channel]: "bad" };
      continue;
    }
    // -0 + 0 is 0: JSON has no negative zero, and the server must store what the model saw.
    const value = (resolution === undefined ? reading : roundToResolution(reading, resolution)) + 0;
    values[channel] = value;
    if (range !== undefined && (value < range[0] || value > range[1])) {
      quality = { ...quality, [channel]: "uncertain" };
    }
  }
  return quality === undefined ? { asset, observedAtMs, values } : { asset, observedAtMs, values, quality };
}

/** A point as its asset's birth declares it. */
export function birthOf({ channel, unit, resolution, range }: PointConfig): ChannelBirth {
  return {
    channel,
    unit,
    ...(resolution === undefined ? {} : { resolution }),
    ...(range === undefined ? {} : { range: [range[0], range[1]] as [number, number] }),
  };
}
