import { TIME_MS_MAX } from "@bellwether/protocol/ids.ts";
import type { TelemetryRow } from "@bellwether/protocol/messages/stream.ts";
import { parseIsoMs } from "@bellwether/protocol/time.ts";
import type { MqttPoint } from "../config/config.ts";
import { asNumber, atPointer } from "./pointer.ts";
import { rowOf } from "./row.ts";

const PAYLOAD_BYTES_MAX = 262_144;

/** One point's reading out of a site broker's message. */
export interface SiteReading {
  readonly point: MqttPoint;
  readonly observedAtMs: number;
  /** Undefined: unreadable, a bad sample. */
  readonly value: number | undefined;
  /** Why it is unreadable. */
  readonly reason?: string;
}

/** When a message came; `kept`: the broker kept it, so it may have been said long ago. */
interface Arrival {
  readonly nowMs: number;
  readonly kept: boolean;
}

/**
 * The readings of the points that listen to a topic. A payload that is no JSON, has nothing at the pointer, or whose
 * time cannot be read gives a bad reading: a value whose time is unknown must not be stamped "now". A kept message
 * without a time of its own is such a value.
 */
export function readSiteMessage(
  points: readonly MqttPoint[],
  payload: Uint8Array,
  { nowMs, kept }: Arrival,
): SiteReading[] {
  const bad = (point: MqttPoint, reason: string) => ({ point, observedAtMs: nowMs, value: undefined, reason });
  if (payload.byteLength > PAYLOAD_BYTES_MAX) {
    return points.map((point) => bad(point, `${payload.byteLength} bytes, more than ${PAYLOAD_BYTES_MAX}`));
  }
  let document: unknown;
  try {
    document = JSON.parse(Buffer.from(payload).toString("utf8"));
  } catch {
    return points.map((point) => bad(point, "the payload is not JSON"));
  }
  return points.map((point) => {
    if (kept && point.timePointer === undefined) return bad(point, "a retained value says no time of its own");
    const observedAtMs =
      point.timePointer === undefined ? nowMs : timeOf(atPointer(document, point.timePointer), point);
    if (observedAtMs === undefined) return bad(point, `no time in ${point.timeUnit} at ${point.timePointer}`);
    const value = asNumber(atPointer(document, point.valuePointer));
    if (value === undefined) return { ...bad(point, `no number at "${point.valuePointer}"`), observedAtMs };
    return { point, observedAtMs, value };
  });
}

function timeOf(value: unknown, { timeUnit }: MqttPoint): number | undefined {
  if (timeUnit === "iso") return typeof value === "string" ? parseIsoMs(value) : undefined;
  const number = typeof value === "boolean" ? undefined : asNumber(value);
  if (number === undefined) return undefined;
  const ms = Math.round(timeUnit === "s" ? number * 1_000 : number);
  return ms >= 0 && ms <= TIME_MS_MAX ? ms : undefined;
}

/** Readings put together: one row per asset and source time. */
export function rowsOfReadings(readings: readonly SiteReading[]): TelemetryRow[] {
  const rows = Map.groupBy(readings, ({ point, observedAtMs }) => `${observedAtMs} ${point.asset}`);
  return [...rows.values()]
    .map((own) =>
      rowOf(
        own[0]!.point.asset,
        own[0]!.observedAtMs,
        own.map(({ point, value }) => [point, value]),
      ),
    )
    .sort((a, b) => a.observedAtMs - b.observedAtMs);
}
