import { decodeBatch, encodeBatch } from "@bellwether/protocol/batch.ts";
import type { StreamBatch, TelemetryRow } from "@bellwether/protocol/messages/stream.ts";
import { unwrap } from "@bellwether/protocol/result.ts";
import { expect, test } from "vitest";
import { downsample } from "../../agent/src/buffer/downsample.ts";
import { HOUR_MS, MINUTE_MS } from "../../fleet-server/src/series/figures.ts";
import type { Store } from "../../fleet-server/src/store/store.ts";
import { commitTogether } from "../kit/ingest.ts";
import { temporaryStore } from "../kit/store.ts";

function message(fromSeq: number, records: readonly TelemetryRow[]) {
  const clock = { bootId: "boot", monoMs: 0, wallMs: 0, clockSynced: true };
  const batch = {
    v: 1,
    epoch: "00000000000000aa",
    stream: "telemetry",
    fromSeq,
    records,
    hist: true,
    clock,
  } as StreamBatch;
  return { device: "gw-1", site: "s", stream: "telemetry", bytes: encodeBatch(batch), receivedAtMs: 0 } as const;
}

async function rollUp(store: Store): Promise<void> {
  for (let found = await store.series.pending({}); found; found = await store.series.pending({})) {
    await store.series.keep({ slice: found.slice, minutes: found.minutes, last: true });
  }
}

test("the server's figures are the same of rows and of what a device has left of them, and count nothing twice", async () => {
  const rows = Array.from({ length: 600 }, (_, index): TelemetryRow => {
    const values = { vib: Math.sin(index) * 100, ...(index % 3 === 0 ? { temp: index } : {}) };
    return { asset: "pump-1", observedAtMs: index * 1_700, values };
  });
  const kept = (fromSeq: number, own: readonly TelemetryRow[], change = {}) => {
    const { bytes, ...one } = message(fromSeq, []);
    const batch = unwrap(decodeBatch("telemetry", message(fromSeq, own).bytes));
    const gap = { count: own.length, reason: "downsampled" } as const;
    return { ...one, bytes: encodeBatch({ ...batch, records: [], gap, downsampled: downsample(own), ...change }) };
  };
  const figuresOf = async (store: Store) => {
    await rollUp(store);
    const query = { assets: ["pump-1"], fromMs: 0, toMs: HOUR_MS, stepMs: MINUTE_MS, limit: 10 };
    return (await store.series.points(query)).items.map(({ channel, points: { mean, ...exact } }) => ({
      channel,
      exact,
      mean: mean.map((one) => Number(one.toPrecision(8))),
    }));
  };
  const whole = await temporaryStore();
  await commitTogether(whole.ingest.commit, [message(1, rows)]);
  const parts = await temporaryStore();
  const oldest = kept(1, rows.slice(0, 250));
  // Sent again because its acknowledgement was lost; then what follows, and the newest as they are.
  await commitTogether(parts.ingest.commit, [oldest, message(401, rows.slice(400))]);
  const outcomes = await commitTogether(parts.ingest.commit, [oldest, kept(251, rows.slice(250, 400))]);
  expect(outcomes.map(({ outcome }) => outcome)).toEqual(["duplicate", "committed"]);
  expect(await figuresOf(parts)).toEqual(await figuresOf(whole));
  expect(await parts.ingest.gaps({ limit: 10 })).toMatchObject([
    { fromSeq: 251, toSeq: 400, reason: "downsampled" },
    { fromSeq: 1, toSeq: 250, reason: "downsampled" },
  ]);

  const overlapping = await temporaryStore();
  await commitTogether(overlapping.ingest.commit, [message(1, rows.slice(0, 50)), oldest]);
  const alone = await temporaryStore();
  await commitTogether(alone.ingest.commit, [message(1, rows.slice(0, 50))]);
  expect(await figuresOf(overlapping)).toEqual(await figuresOf(alone));
  expect(await overlapping.ingest.gaps({ limit: 10 })).toMatchObject([{ fromSeq: 51, toSeq: 250, reason: "evicted" }]);
});
