import { decodeBatch, encodeBatch } from "@bellwether/protocol/batch.ts";
import type { InferenceRecord, StreamBatch } from "@bellwether/protocol/messages/stream.ts";
import { unwrap } from "@bellwether/protocol/result.ts";
import Database from "better-sqlite3";
import fc from "fast-check";
import { expect, test } from "vitest";
import { endedOf } from "../../../../test/kit/ingest.ts";
import { groupOf } from "../../ingest/message-group.ts";
import type { IncomingBatch } from "../ingest.ts";
import { driftMigrations } from "./drift.ts";
import { ingest, ingestMigrations } from "./ingest.ts";
import { latencyQuantile } from "./prediction-sums.ts";

const clock = { bootId: "b", monoMs: 0, wallMs: 0, clockSynced: true };
const EPOCH = "00000000000000aa";
const digestOf = (letter: string) => `sha256:${letter.repeat(64)}`;
const prediction = (seq: number, changes: Partial<InferenceRecord> = {}): InferenceRecord => ({
  asset: `pump-${seq % 3}`,
  observedAtMs: 1_000 * seq,
  model: seq % 2 === 0 ? "rul" : "anomaly",
  version: 1,
  digest: digestOf(seq < 6 ? "a" : "b"),
  value: seq / 8,
  outputs: { value: seq / 8 },
  latencyUs: seq,
  alert: seq % 5 === 0,
  ...changes,
});

function message(fromSeq: number, records: readonly InferenceRecord[], device = "gw-1"): IncomingBatch {
  const batch: StreamBatch = { v: 1, epoch: EPOCH, stream: "inference", fromSeq, records, hist: false, clock };
  return {
    device,
    site: device === "gw-1" ? "s" : "t",
    stream: "inference",
    bytes: encodeBatch(batch),
    receivedAtMs: 5,
  };
}

function room() {
  const db = new Database(":memory:");
  for (const sql of [...ingestMigrations, ...driftMigrations]) db.exec(sql);
  const commit = db.transaction((batches: readonly IncomingBatch[]) => {
    const group = groupOf(batches);
    return endedOf(group.sourceOf, ingest.commit.run(db, { group, withRecords: false }));
  });
  const read = (wanted: Partial<Parameters<typeof ingest.predictions.run>[1]>) =>
    ingest.predictions.run(db, { limit: 1_000, ...wanted });
  return { db, commit, read };
}

const SEQS = Array.from({ length: 12 }, (_, index) => index + 1);

/** Twelve predictions of two devices each, in messages of 1, 2, 3, … that lie together as far as they follow each other. */
function filled() {
  const all = room();
  for (const device of ["gw-2", "gw-1"]) {
    const cut = (from: number, to: number) =>
      message(
        from,
        SEQS.slice(from - 1, to).map((seq) => prediction(seq)),
        device,
      );
    all.commit([cut(1, 1), cut(2, 3)]);
    all.commit([cut(7, 10), cut(4, 6), cut(11, 12)]);
  }
  return all;
}

test("predictions that came in messages are read one by one, as they were, in either order and any page", () => {
  const { read } = filled();
  const wanted = SEQS.map((seq) => [seq, prediction(seq)]);
  for (const device of ["gw-1", "gw-2"]) {
    expect(read({ device, order: "seq" }).map(({ seq, record }) => [seq, record])).toEqual(wanted);
    expect(read({ device }).map(({ seq }) => seq)).toEqual([1, 2, 3, 7, 8, 9, 10, 4, 5, 6, 11, 12]);
  }
  const filters = [{}, { asset: "pump-1" }, { model: "rul" }, { digest: digestOf("b") }, { sites: ["t"] }] as const;
  for (const filter of [...filters, { asset: "pump-0", model: "rul", device: "gw-2" }]) {
    const whole = { commit: read(filter), seq: read({ ...filter, order: "seq" }) };
    expect(whole.commit.length).toBeGreaterThan(0);
    expect(
      whole.commit.toSorted((a, b) => (a.device < b.device ? -1 : a.device > b.device ? 1 : a.seq - b.seq)),
    ).toEqual(whole.seq);
    for (const limit of [1, 2, 5]) {
      const paged = { commit: [] as typeof whole.commit, seq: [] as typeof whole.seq };
      for (let page = read({ ...filter, limit }); page.length > 0; ) {
        paged.commit.push(...page);
        page = read({ ...filter, limit, afterId: page.at(-1)!.id });
      }
      for (let page = read({ ...filter, limit, order: "seq" }); page.length > 0; ) {
        paged.seq.push(...page);
        const { device, epoch, seq } = page.at(-1)!;
        page = read({ ...filter, limit, order: "seq", after: [device, epoch, seq] });
      }
      expect(paged).toEqual(whole);
    }
  }
});

test("the same records come again as repetitions however they are cut, and others contradict", () => {
  const { commit, read } = filled();
  const before = read({});
  const answers = commit([
    message(
      2,
      SEQS.slice(1, 9).map((seq) => prediction(seq)),
    ),
    message(9, [prediction(9), prediction(10, { value: -1 })]),
    message(12, [prediction(12), prediction(13)]),
  ]);
  expect(answers.map(({ outcome }) => outcome)).toEqual(["duplicate", "conflict", "committed"]);
  expect(read({}).filter(({ seq }) => seq < 13)).toEqual(before);
  expect(read({ device: "gw-1", order: "seq" }).at(-1)).toMatchObject({ seq: 13, record: prediction(13) });
});

test("sums are those of the predictions, for each asset and version", () => {
  const { db, commit } = room();
  const predecessor = (value: number) => ({ digest: digestOf("c"), value });
  commit([
    message(1, [
      prediction(2, { predecessor: predecessor(3), value: 2 }),
      prediction(8, { predecessor: predecessor(-1), value: 5 }),
      prediction(10, { asset: "pump-2", predecessor: predecessor(4), value: 0.5, alert: true }),
    ]),
    message(4, [{ ...prediction(14), value: undefined, error: "INFERENCE_FAILED" } as unknown as InferenceRecord]),
  ]);
  const sums = db
    .prepare(
      `SELECT asset, substr(digest, 8, 1) AS of, n, errors, alerts, pairs, sum_value, sum_predecessor, sum_value_squared AS v2,
         sum_predecessor_squared AS p2, sum_product FROM prediction_sums ORDER BY asset, digest`,
    )
    .raw()
    .all();
  expect(sums).toEqual([
    ["pump-2", "a", 1, 0, 0, 1, 2, 3, 4, 9, 6],
    ["pump-2", "b", 3, 1, 1, 2, 5.5, 3, 25.25, 17, -3],
  ]);
});

test("a quantile of latencies is that of all of them, in whatever portions they are stored", () => {
  fc.assert(
    fc.property(fc.array(fc.array(fc.nat(1e6))), fc.double({ min: 0, max: 1, noNaN: true }), (portions, share) => {
      const stored = portions.map((one) => Buffer.from(Float64Array.from(one).buffer));
      const all = portions.flat().sort((a, b) => a - b);
      expect(latencyQuantile(stored, share)).toBe(all[Math.floor(share * (all.length - 1))] ?? null);
    }),
  );
});

test("what a store held a row for each is there after it was brought up to date", () => {
  const db = new Database(":memory:");
  for (const sql of [...ingestMigrations.slice(0, 3), ...driftMigrations]) db.exec(sql);
  db.prepare("INSERT INTO epochs VALUES ('gw-1', ?, 1)").run(EPOCH);
  db.prepare("INSERT INTO stream_positions VALUES ('gw-1', 1, 'inference', 12, '[]')").run();
  const add = db.prepare(
    `INSERT INTO predictions (device, epoch_no, seq, site, asset, observed_at_ms, corrected_at_ms, committed_at_ms, model,
       version, digest, value, error, latency_us, alert, hist, predecessor_digest, predecessor_value, body)
     VALUES ('gw-1', 1, @seq, 's', @asset, @observedAtMs, @observedAtMs + 7, 5, @model, 1, @digest, @value, NULL, 4, 0, 0,
       NULL, NULL, @body)`,
  );
  for (const seq of SEQS) {
    const record = { ...prediction(seq), explanation: [{ feature: "vib.rms", delta: 0.1 }] };
    const { asset, observedAtMs, model, digest, value } = record;
    add.run({ seq, asset, observedAtMs, model, digest, value, body: JSON.stringify(record) });
  }
  for (const sql of ingestMigrations.slice(3)) db.exec(sql);
  const stored = ingest.predictions.run(db, { limit: 1_000, order: "seq" });
  expect(stored.map(({ seq }) => seq)).toEqual(SEQS);
  expect(stored[3]).toMatchObject({ epoch: 1, correctedAtMs: 4_007, committedAtMs: 5, hist: false });
  expect(stored[3]?.record).toEqual({ ...prediction(4), explanation: [{ feature: "vib.rms", delta: 0.1 }] });
  const group = groupOf([message(4, [stored[3]!.record])]);
  const again = ingest.commit.run(db, { group, withRecords: false });
  expect(endedOf(group.sourceOf, again).map(({ outcome }) => outcome)).toEqual(["duplicate"]);
  const bytes = db.prepare("SELECT bytes FROM prediction_batches LIMIT 1").pluck().get() as Buffer;
  expect(unwrap(decodeBatch("inference", bytes)).epoch).toBe(EPOCH);
});
