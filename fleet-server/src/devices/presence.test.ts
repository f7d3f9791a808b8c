import { describe, expect, it } from "vitest";
import { presenceOf } from "./presence.ts";

const heard = { lastSeenAtMs: 100_000, heartbeatMs: 1_000, state: { online: true } };

describe("presence", () => {
  it.each([
    [0, "online"],
    [2_999, "online"],
    [3_000, "late"],
    [5_999, "late"],
    [6_000, "offline"],
    [1e9, "offline"],
  ])("of a device silent for %i ms is %s", (ageMs, presence) => {
    expect(presenceOf(heard, 100_000 + ageMs)).toEqual({ presence, ageMs });
  });

  it("is offline at once when it said farewell, and never before its first word", () => {
    expect(presenceOf({ ...heard, state: { online: false } }, 100_001).presence).toBe("offline");
    expect(presenceOf({ ...heard, lastSeenAtMs: null }, 5)).toEqual({ presence: "never", ageMs: null });
  });

  it("uses the default heartbeat until the device has named its own, and never counts backwards", () => {
    expect(presenceOf({ ...heard, heartbeatMs: null }, 129_999).presence).toBe("online");
    expect(presenceOf({ ...heard, heartbeatMs: null }, 130_000).presence).toBe("late");
    expect(presenceOf(heard, 50_000)).toEqual({ presence: "online", ageMs: 0 });
  });
});
