import { encodeBatch } from "@bellwether/protocol/batch.ts";
import { feedOf } from "@bellwether/protocol/feed.ts";
import { AlarmFeed, DeviceFeed, LastFeed, PredictionFeed, TelemetryFeed } from "@bellwether/protocol/messages/feed.ts";
import type { EventRecord, InferenceRecord, StreamBatch, TelemetryRow } from "@bellwether/protocol/messages/stream.ts";
import { unwrap } from "@bellwether/protocol/result.ts";
import { validator } from "@bellwether/protocol/schema.ts";
import { topicMatches } from "@bellwether/protocol/topics.ts";
import { describe, expect, it, onTestFinished } from "vitest";
import { eventually } from "../../../test/kit/eventually.ts";
import { temporaryStore } from "../../../test/kit/store.ts";
import { PRESENCE_RULE } from "../devices/presence.ts";
import { groupOf } from "../ingest/message-group.ts";
import type { CommittedBatch, IncomingBatch } from "../store/ingest.ts";
import { createFeed } from "./feed.io.ts";

const SHAPES = {
  telemetry: validator("telemetry", TelemetryFeed),
  prediction: validator("prediction", PredictionFeed),
  last: validator("last", LastFeed),
  alarm: validator("alarm", AlarmFeed),
  device: validator("device", DeviceFeed),
};

const row = (asset: string, atMs: number, value: number): TelemetryRow => ({
  asset,
  observedAtMs: atMs,
  values: { vib: value },
});
const prediction = (asset: string, model: string, value: number): InferenceRecord => ({
  asset,
  observedAtMs: 5_000,
  model,
  version: 2,
  digest: `sha256:${"a".repeat(64)}`,
  value,
  alert: false,
});
const alert = (code: string, model = "rul"): EventRecord => ({
  atMs: 7_000,
  kind: "alert",
  severity: "warning",
  code,
  text: "pump-1: rul is 3.",
  asset: "pump-1",
  model,
});

function committed(
  stream: CommittedBatch["stream"],
  records: readonly unknown[],
  change: Partial<CommittedBatch> = {},
) {
  const batch = { device: "gw-1", site: "s", stream, outcome: "committed", hist: false, offsetMs: 0, records } as const;
  return { ...batch, ...change } satisfies CommittedBatch;
}
const everything = () => true;

describe("a committed batch in the feed", () => {
  it("is one flat message per record, in its schema, with the corrected time", () => {
    const rows = feedOf(committed("telemetry", [row("pump-1", 1_000, 1)], { offsetMs: 500, hist: true }), everything);
    expect(rows).toEqual([
      {
        topic: "bw/v1/s/feed/pump-1/telemetry",
        body: {
          asset: "pump-1",
          device: "gw-1",
          time: "1970-01-01T00:00:01.500Z",
          observedAtMs: 1_000,
          hist: true,
          values: { vib: 1 },
        },
      },
    ]);
    unwrap(SHAPES.telemetry.check(rows[0]?.body));
    const [said] = feedOf(committed("inference", [prediction("pump-1", "rul", 3)]), everything);
    expect(said).toMatchObject({ topic: "bw/v1/s/feed/pump-1/prediction", body: { model: "rul", value: 3 } });
    unwrap(SHAPES.prediction.check(said?.body));
  });

  it("is not even made where nobody listens", () => {
    const records = [row("pump-1", 1, 1), row("pump-2", 1, 1), row("pump-1", 2, 2)];
    const messages = feedOf(committed("telemetry", records), (topic) => topic.includes("pump-2"));
    expect(messages.map(({ topic }) => topic)).toEqual(["bw/v1/s/feed/pump-2/telemetry"]);
    expect(feedOf(committed("samples", [{ asset: "pump-1" }]), everything)).toEqual([]);
  });

  it("raises and clears alarms; backfill raises none, but ends one", () => {
    const topic = "bw/v1/s/feed/pump-1/alarm/rul";
    const raised = feedOf(committed("event", [alert("ALERT_RAISED")]), everything);
    expect(raised).toMatchObject([{ topic, body: { alarm: "rul", asset: "pump-1" } }]);
    unwrap(SHAPES.alarm.check(raised[0]?.body));
    expect(feedOf(committed("event", [alert("ALERT_CLEARED")]), everything)).toEqual([{ topic }]);
    expect(feedOf(committed("event", [alert("ALERT_RAISED")], { hist: true }), everything)).toEqual([]);
    expect(feedOf(committed("event", [alert("ALERT_CLEARED")], { hist: true }), everything)).toEqual([{ topic }]);
    expect(feedOf(committed("event", [{ ...alert("X"), kind: "device" }]), everything)).toEqual([]);
  });

  it("survives times that no calendar holds", () => {
    const records = [row("a", 8.64e15, 1)];
    const [far] = feedOf(committed("telemetry", records, { offsetMs: 8e15 }), everything);
    const [early] = feedOf(committed("telemetry", records, { offsetMs: -9e15 }), everything);
    expect(far?.body).toMatchObject({ time: "+275760-09-13T00:00:00.000Z" });
    expect(early?.body).toMatchObject({ time: "1970-01-01T00:00:00.000Z" });
  });
});

describe("the feed", () => {
  let seq = 0;
  function incoming(stream: IncomingBatch["stream"], records: readonly unknown[], hist = false): IncomingBatch {
    const clock = { bootId: "b", monoMs: 0, wallMs: 0, clockSynced: true };
    const fromSeq = ++seq;
    seq += records.length;
    const batch = { v: 1, epoch: "00000000000000aa", stream, fromSeq, records, hist, clock } as StreamBatch;
    return { device: "gw-1", site: "s", stream, bytes: encodeBatch(batch), receivedAtMs: 1 };
  }

  async function start(filter = "bw/v1/s/feed/#") {
    const store = await temporaryStore();
    const live: { topic: string; text: string }[] = [];
    const trouble: unknown[] = [];
    const listening = { filter };
    const feed = createFeed({
      store,
      broker: () => ({
        wanted: (topic) => topic === undefined || topicMatches(listening.filter, topic),
        toSubscribers(topic, payload) {
          if (topicMatches(listening.filter, topic)) live.push({ topic, text: Buffer.from(payload()).toString() });
        },
      }),
      rule: PRESENCE_RULE,
      now: () => 1_000_000,
      report: (_problem, detail) => void trouble.push(detail),
    });
    onTestFinished(async () => {
      await feed.close();
      expect(trouble).toEqual([]);
    });
    const commit = async (...batches: IncomingBatch[]) =>
      feed.committed(await store.ingest.commit({ group: groupOf(batches), withRecords: true }));
    const welcome = async (matches = everything as (topic: string) => boolean, sites = ["s"]) => {
      const given = new Map<string, unknown>();
      await feed.welcome({
        sites,
        matches,
        async give(topic, payload) {
          given.set(topic, JSON.parse(Buffer.from(payload).toString()));
          return true;
        },
      });
      return given;
    };
    return { store, feed, live, commit, welcome };
  }

  it("keeps the newest row and the newest word of each model, and sends them together", async () => {
    const { commit, live, welcome } = await start("bw/v1/s/feed/+/last");
    await commit(
      incoming("telemetry", [row("pump-1", 1_000, 1), row("pump-1", 2_000, 2)]),
      incoming("inference", [prediction("pump-1", "rul", 3), prediction("pump-1", "anomaly", 0.5)]),
    );
    const last = await eventually("the last values", () => live.find(({ text }) => text.includes("anomaly")));
    const body = unwrap(SHAPES.last.parse(last.text));
    expect(body).toMatchObject({ time: "1970-01-01T00:00:02.000Z", values: { vib: 2 } });
    expect(body.predictions).toMatchObject({ rul: { value: 3, version: 2 }, anomaly: { value: 0.5 } });
    expect((await welcome()).get("bw/v1/s/feed/pump-1/last")).toEqual(body);
  });

  it("does not let what arrives late replace what is newer", async () => {
    const { commit, welcome } = await start();
    const late = incoming("telemetry", [row("pump-1", 9_000, 1)]);
    const newer = incoming("telemetry", [row("pump-1", 2_000, 2)]);
    await commit(newer);
    await commit(late);
    expect((await welcome()).get("bw/v1/s/feed/pump-1/last")).toMatchObject({ values: { vib: 2 } });
  });

  it("thousands of rows make few messages of the last values", async () => {
    const { commit, live } = await start("bw/v1/s/feed/+/last");
    for (let n = 0; n < 100; n++) await commit(incoming("telemetry", [row("pump-1", n, n)]));
    await eventually("the newest", () => live.some(({ text }) => text.includes('"vib":99')));
    expect(live.length).toBeLessThan(50);
  });

  it("gives standing alarms to those who come later, backfilled ones too, until they are cleared", async () => {
    const { commit, welcome } = await start();
    const topic = "bw/v1/s/feed/pump-1/alarm/rul";
    await commit(incoming("event", [alert("ALERT_RAISED")]), incoming("event", [alert("ALERT_RAISED", "x")], true));
    const standing = await welcome();
    unwrap(SHAPES.alarm.check(standing.get(topic)));
    expect(standing.get(topic)).toMatchObject({ alarm: "rul", hist: false });
    expect(standing.get("bw/v1/s/feed/pump-1/alarm/x")).toMatchObject({ hist: true });
    await commit(incoming("event", [alert("ALERT_CLEARED")]));
    expect([...(await welcome()).keys()].filter((one) => one.includes("alarm"))).toEqual([
      "bw/v1/s/feed/pump-1/alarm/x",
    ]);
  });

  it("gives nothing of other sites, and only what the filter asks for", async () => {
    const { commit, welcome } = await start();
    await commit(incoming("telemetry", [row("pump-1", 1, 1), row("pump-2", 1, 1)]));
    expect((await welcome(everything, ["elsewhere"])).size).toBe(0);
    expect([...(await welcome((topic) => topic.includes("pump-2"))).keys()]).toEqual(["bw/v1/s/feed/pump-2/last"]);
  });

  it("keeps no commit waiting and no failure from it: a store that fails is reported, and that is all", async () => {
    const store = await temporaryStore();
    const trouble: unknown[] = [];
    const feed = createFeed({
      store: {
        ...store,
        ingest: {
          ...store.ingest,
          latest: async () => {
            throw new Error("no disk");
          },
        },
      },
      broker: () => ({ wanted: () => true, toSubscribers: () => undefined }),
      rule: PRESENCE_RULE,
      now: () => 0,
      report: (_problem, detail) => void trouble.push(detail),
    });
    onTestFinished(() => feed.close());
    feed.committed({ batches: [committed("telemetry", [row("pump-1", 1, 1)])], leftOut: { rows: 0, assets: [] } });
    await eventually("the report", () => trouble.length > 0);
    expect(String(trouble[0])).toContain("no disk");
  });
});
