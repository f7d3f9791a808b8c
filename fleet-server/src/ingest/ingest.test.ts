import { encodeBatch } from "@bellwether/protocol/batch.ts";
import type { StreamBatch, TelemetryRow } from "@bellwether/protocol/messages/stream.ts";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { commitTogether } from "../../../test/kit/ingest.ts";
import { temporaryStore } from "../../../test/kit/store.ts";
import type { IncomingBatch } from "../store/ingest.ts";

const EPOCH = "00000000000000aa";
const clock = { bootId: "b", monoMs: 0, wallMs: 0, clockSynced: true };
const row = (seq: number): TelemetryRow => ({ asset: "pump-1", observedAtMs: seq * 1000, values: { a: seq / 8 } });

function message(fromSeq: number, count: number, change: Partial<StreamBatch> = {}): IncomingBatch {
  const records = Array.from({ length: count }, (_, index) => row(fromSeq + index));
  const batch = { v: 1, epoch: EPOCH, stream: "telemetry", fromSeq, records, hist: false, clock, ...change };
  return {
    device: "d1",
    site: "s1",
    stream: "telemetry",
    bytes: encodeBatch(batch as StreamBatch),
    receivedAtMs: 5_000,
  };
}

async function storedSeqs(store: Awaited<ReturnType<typeof temporaryStore>>): Promise<number[]> {
  const { rows } = await store.ingest.rows({ batches: 1_000 });
  for (const stored of rows) expect(stored.values).toEqual(row(stored.seq).values);
  return rows.map((stored) => stored.seq);
}

describe("ingest", () => {
  it("stores every record once and in the order of seq, whatever came twice, late, overlapping or in any order", async () => {
    const store = await temporaryStore();
    let device = 0;
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.integer({ min: 1, max: 40 }), fc.integer({ min: 1, max: 9 })), {
          minLength: 1,
          maxLength: 20,
        }),
        fc.integer({ min: 1, max: 6 }),
        async (sent, groupSize) => {
          const name = `d${device++}`;
          // One batch for each first seq: the same seq with other bytes is another story, told below.
          const lengths = new Map(sent);
          const messages = sent.map(([from]) => ({ ...message(from, lengths.get(from) as number), device: name }));
          for (let start = 0; start < messages.length; start += groupSize) {
            await commitTogether(store.ingest.commit, messages.slice(start, start + groupSize));
          }
          const { rows } = await store.ingest.rows({ device: name, batches: 1_000 });
          const expected = new Set<number>();
          for (const [from, length] of lengths) for (let seq = from; seq < from + length; seq++) expected.add(seq);
          expect(rows.map((stored) => stored.seq)).toEqual([...expected].sort((a, b) => a - b));
          for (const stored of rows) expect(stored.values).toEqual(row(stored.seq).values);
        },
      ),
      { numRuns: 40 },
    );
  });

  it("acknowledges the prefix and the ranges beyond it", async () => {
    const store = await temporaryStore();
    const commit = async (batch: IncomingBatch) => (await commitTogether(store.ingest.commit, [batch]))[0];
    expect(await commit(message(4, 2))).toMatchObject({
      outcome: "committed",
      ack: { epoch: EPOCH, upTo: 0, also: [[4, 5]] },
    });
    expect(await commit(message(1, 3))).toMatchObject({ outcome: "committed", ack: { upTo: 5, also: [] } });
    expect(await commit(message(4, 2))).toMatchObject({ outcome: "duplicate", ack: { upTo: 5 } });
    expect(await storedSeqs(store)).toEqual([1, 2, 3, 4, 5]);
  });

  it("orders a new epoch when the same seq says something else, and keeps what it had", async () => {
    const store = await temporaryStore();
    const other = message(1, 2, { records: [row(8), row(9)] });
    const [, second] = await commitTogether(store.ingest.commit, [message(1, 2), other]);
    expect(second).toMatchObject({ outcome: "conflict" });
    expect(await storedSeqs(store)).toEqual([1, 2]);
  });

  it("counts gaps: evicted ones as reported, lost ones when a session opens without them", async () => {
    const store = await temporaryStore();
    const evicted = message(1, 0, { records: [], gap: { count: 3, reason: "evicted" } });
    const [first] = await commitTogether(store.ingest.commit, [evicted]);
    expect(first).toMatchObject({ outcome: "committed", ack: { upTo: 3 } });
    const opened = await store.ingest.openSession({
      device: "d1",
      epoch: EPOCH,
      streams: [{ stream: "telemetry", firstHeld: 6, next: 10 }],
      nowMs: 1,
    });
    expect(opened).toEqual({ acks: { telemetry: { epoch: EPOCH, upTo: 5, also: [] } }, conflict: false });
    expect(await store.ingest.counts({})).toMatchObject({ gapRecords: 5 });
  });

  it("takes a gap over what arrived after all, and a gap that grew, without a contradiction", async () => {
    const store = await temporaryStore();
    const gap = (count: number) => message(1, 0, { records: [], gap: { count, reason: "evicted" } });
    const outcomes = await commitTogether(store.ingest.commit, [message(1, 2), gap(4), gap(6)]);
    expect(outcomes.map(({ outcome }) => outcome)).toEqual(["committed", "committed", "committed"]);
    expect(outcomes[0]?.ack?.upTo).toBe(6);
    expect(await storedSeqs(store)).toEqual([1, 2]);
    expect(await store.ingest.counts({})).toMatchObject({ gapRecords: 4 });
  });

  it("sees an outbox that went back in time", async () => {
    const store = await temporaryStore();
    await commitTogether(store.ingest.commit, [message(1, 5)]);
    const streams = [{ stream: "telemetry" as const, firstHeld: 1, next: 4 }];
    const opened = await store.ingest.openSession({ device: "d1", epoch: EPOCH, streams, nowMs: 1 });
    expect(opened.conflict).toBe(true);
  });

  it("keeps poison as a dead letter, acknowledges what can be read of it, and goes on", async () => {
    const store = await temporaryStore();
    const poison = {
      ...message(1, 1),
      bytes: Buffer.from(JSON.stringify({ epoch: EPOCH, fromSeq: 1, records: [{}, {}] })),
    };
    const noise = { ...message(1, 1), bytes: Buffer.from([1, 2, 3]) };
    const unreadable = await commitTogether(store.ingest.commit, [noise, noise]);
    expect(unreadable).toEqual(Array(2).fill({ outcome: "poison", ack: undefined }));
    const [readable] = await commitTogether(store.ingest.commit, [poison]);
    expect(readable).toMatchObject({ outcome: "poison", ack: { upTo: 2 } });
    const outcomes = await commitTogether(store.ingest.commit, [poison, noise, message(3, 1)]);
    expect(outcomes.map(({ outcome }) => outcome)).toEqual(["poison", "poison", "committed"]);
    expect(outcomes[0]?.ack?.upTo).toBe(3);
    const letters = await store.ingest.deadLetters({ limit: 10 });
    expect(letters.map((letter) => letter.byteCount)).toEqual([3, poison.bytes.length]);
    expect(await storedSeqs(store)).toEqual([3]);
  });

  it("corrects an unsynchronised clock by the quickest message of its boot", async () => {
    const store = await temporaryStore();
    const inference = (fromSeq: number, wallMs: number, receivedAtMs: number): IncomingBatch => ({
      device: "d1",
      site: "s1",
      stream: "inference",
      receivedAtMs,
      bytes: encodeBatch({
        v: 1,
        epoch: EPOCH,
        stream: "inference",
        fromSeq,
        records: [
          { asset: "a", observedAtMs: 100, model: "m", version: 1, digest: `sha256:${"a".repeat(64)}`, value: 1 },
        ],
        hist: false,
        clock: { ...clock, wallMs, clockSynced: false },
      }),
    });
    const messages = [inference(1, 100, 1_100), inference(2, 200, 5_000), inference(3, 300, 1_290)];
    await commitTogether(store.ingest.commit, messages);
    const stored = await store.ingest.predictions({ limit: 10 });
    expect(stored.map((prediction) => prediction.correctedAtMs)).toEqual([1_100, 1_100, 1_090]);
  });
});
