/** Presence of a device, from the age of what was last heard of it. Nothing is online because it was online once. */
export const PRESENCES = ["never", "online", "late", "offline"] as const;
export type Presence = (typeof PRESENCES)[number];

/** After how many heartbeats without a word a device is late, and offline. */
export interface PresenceRule {
  readonly lateAfterHeartbeats: number;
  readonly offlineAfterHeartbeats: number;
  /** Used until a device has said what its heartbeat is. */
  readonly defaultHeartbeatMs: number;
}

export const PRESENCE_RULE: PresenceRule = {
  lateAfterHeartbeats: 3,
  offlineAfterHeartbeats: 6,
  defaultHeartbeatMs: 10_000,
};

/** What presence is judged from: all of it is in the store, so a restart of the server forgets nothing. */
export interface Heard {
  readonly lastSeenAtMs: number | null;
  readonly heartbeatMs: number | null;
  /** What the device said of itself last; "online: false" is its farewell or its last will. */
  readonly state: { readonly online: boolean; readonly atMs?: number } | null;
}

/** Presence at a time, and the age it rests on (milliseconds; null when nothing was ever heard). */
export function presenceOf(
  heard: Heard,
  nowMs: number,
  rule: PresenceRule = PRESENCE_RULE,
): { presence: Presence; ageMs: number | null } {
  if (heard.lastSeenAtMs === null) return { presence: "never", ageMs: null };
  const ageMs = Math.max(0, nowMs - heard.lastSeenAtMs);
  if (heard.state?.online === false) return { presence: "offline", ageMs };
  const heartbeatMs = heard.heartbeatMs ?? rule.defaultHeartbeatMs;
  if (ageMs >= rule.offlineAfterHeartbeats * heartbeatMs) return { presence: "offline", ageMs };
  return { presence: ageMs >= rule.lateAfterHeartbeats * heartbeatMs ? "late" : "online", ageMs };
}
