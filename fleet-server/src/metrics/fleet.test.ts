import { unwrap } from "@bellwether/protocol/result.ts";
import { expect, it } from "vitest";
import { temporaryStore } from "../../../test/kit/store.ts";
import { PRESENCE_RULE } from "../devices/presence.ts";
import { addFleetMetrics } from "./fleet.io.ts";
import { Metrics } from "./metrics.ts";

it("counts active devices by presence with the oldest age of each, over a real store", async () => {
  const store = await temporaryStore();
  const enrolled = 1_000_000;
  const token = {
    id: "e1",
    site: "a",
    labels: {},
    serials: null,
    preapproved: true,
    usesLeft: 9,
    expiresAtMs: 9e12,
    createdAtMs: 0,
    createdBy: "test",
    revoked: false,
  };
  unwrap(await store.devices.addEnrolmentToken({ hash: "h", token }));
  for (const [device, heardAtMs, online] of [
    ["new", undefined, true],
    ["well", 1_100_000, true],
    ["slow", 1_070_000, true],
    ["slower", 1_060_001, true],
    ["gone", 1_000_500, true],
    ["left", 1_099_000, false],
    ["out", 1_100_000, true],
  ] as const) {
    unwrap(
      await store.devices.enrol({ hash: "h", device, serial: null, publicHex: device, nowMs: enrolled, reference: "" }),
    );
    if (heardAtMs === undefined) continue;
    // Two clocks are wrong; the will of the device that left says nothing of its clock.
    const offMs = { well: 90_500, gone: -3_000, left: 7_000 }[device as string] ?? 500;
    const message = { v: 1, online, session: 1, atMs: heardAtMs + offMs, heartbeatMs: 10_000 } as const;
    await store.devices.state({ device, message, nowMs: heardAtMs });
    await store.devices.seen({ at: [[device, heardAtMs]] });
  }
  await store.devices.setPhase({ device: "out", phase: "revoked", nowMs: 0 });
  const metrics = new Metrics();
  addFleetMetrics(metrics, {
    store,
    rule: PRESENCE_RULE,
    now: () => 1_100_000,
    ingest: () => ({
      messages: 7,
      bytes: { telemetry: 600, state: 100 },
      committed: 5,
      duplicates: 1,
      poison: 1,
      conflicts: 0,
      deferred: 0,
      waiting: 3,
    }),
    broker: () => ({
      connections: 2,
      subscribers: 1,
      waitingBytes: 0,
      paused: 2,
      overQuota: 1,
      quotaPauses: 5,
      refused: 1,
      turnedAway: 0,
      oversized: 0,
      forbidden: 0,
      dropped: 0,
      skipped: 4,
    }),
    feed: { leftOutRecords: () => 6 },
    expiries: async () => [{ role: "targets", daysLeft: 29.5 }],
  });
  const text = await metrics.render();
  const values = Object.fromEntries(
    text
      .split("\n")
      .filter((line) => line && !line.startsWith("#"))
      .map((line) => line.split(/ (?=[^ ]*$)/)),
  );
  expect(values).toMatchObject({
    'bellwether_expiry_days{role="targets"}': "29.5",
    'bellwether_devices{presence="never"}': "1",
    'bellwether_devices{presence="online"}': "1",
    'bellwether_devices{presence="late"}': "2",
    'bellwether_devices{presence="offline"}': "2",
    'bellwether_device_oldest_age_seconds{presence="late"}': "39.999",
    'bellwether_device_oldest_age_seconds{presence="offline"}': "99.5",
    'bellwether_devices_enrolled{phase="revoked"}': "1",
    'bellwether_device_clock_ahead_seconds{device="well"}': "90.5",
    'bellwether_device_clock_ahead_seconds{device="gone"}': "-3",
    'bellwether_rollouts{phase="running"}': "0",
    bellwether_dead_letters: "0",
    bellwether_gap_records: "0",
    'bellwether_ingest_outcomes_total{outcome="committed"}': "5",
    bellwether_ingest_waiting_messages: "3",
    bellwether_mqtt_connections: "2",
    bellwether_quota_paused: "1",
    bellwether_quota_pauses_total: "5",
    bellwether_metrics_failures_total: "0",
  });
  expect(values).not.toHaveProperty('bellwether_device_oldest_age_seconds{presence="never"}');
  expect(text).not.toContain("slower");
  expect(text).not.toContain('device="left"');
});
