import { encodeBatch } from "@bellwether/protocol/batch.ts";
import type { Stream, StreamBatch } from "@bellwether/protocol/messages/stream.ts";
import Database from "better-sqlite3";
import { expect, test } from "vitest";
import { endedOf } from "../../../../test/kit/ingest.ts";
import { groupOf } from "../../ingest/message-group.ts";
import type { IncomingBatch } from "../ingest.ts";
import { driftMigrations } from "./drift.ts";
import { ingest, ingestMigrations } from "./ingest.ts";

const EPOCH = "00000000000000aa";
const clock = { bootId: "b", monoMs: 0, wallMs: 1_000, clockSynced: false };
const row = (seq: number, value = seq / 8) => ({ asset: "pump-1", observedAtMs: seq * 1_000, values: { vib: value } });
const event = (text: string) => ({ atMs: 1, kind: "device", severity: "info", code: "X", text });

function message(stream: Stream, fromSeq: number, records: readonly unknown[]): IncomingBatch {
  const batch = { v: 1, epoch: EPOCH, stream, fromSeq, records, hist: false, clock } as StreamBatch;
  return { device: "gw-1", site: "s", stream, bytes: encodeBatch(batch), receivedAtMs: 5_000 };
}

/** A store that refuses some records, as a server with a fault would, until it is mended. */
function room(refused: { readonly table: string; readonly when: string }) {
  const db = new Database(":memory:");
  for (const sql of [...ingestMigrations, ...driftMigrations]) db.exec(sql);
  const refuse = () =>
    db.exec(
      `CREATE TRIGGER refuse BEFORE INSERT ON ${refused.table} WHEN ${refused.when} BEGIN SELECT RAISE(ABORT, 'boom'); END`,
    );
  refuse();
  const commit = db.transaction((batches: readonly IncomingBatch[]) => {
    const group = groupOf(batches);
    return endedOf(group.sourceOf, ingest.commit.run(db, { group, withRecords: false }));
  });
  return {
    db,
    commit: (...batches: IncomingBatch[]) => commit(batches),
    mend: () => db.exec("DROP TRIGGER refuse"),
    replay: db.transaction((id: number) => ingest.replayDeadLetter.run(db, { id, nowMs: 9_000 })),
    letters: () => ingest.deadLetters.run(db, { limit: 10 }).map(({ id, code }) => [id, code]),
    gaps: () => db.prepare("SELECT from_seq, to_seq FROM gaps ORDER BY from_seq").raw().all(),
    rows: () =>
      ingest.rows
        .run(db, { batches: 100 })
        .rows.map(({ seq, values, hist, correctedAtMs }) => [seq, values["vib"], hist, correctedAtMs]),
  };
}

test("a dead letter that can be read now is stored under its own seqs, once, and its gap is gone", () => {
  const { db, commit, mend, replay, letters, gaps } = room({ table: "events", when: "new.body LIKE '%boom%'" });
  commit(
    message("event", 1, [event("one")]),
    message("event", 2, [event("boom")]),
    message("event", 3, [event("three")]),
  );
  expect([letters(), gaps()]).toEqual([[[1, "INTERNAL"]], [[2, 2]]]);
  mend();
  expect(replay(1)).toEqual({ ok: true, value: { records: 1 } });
  expect([letters(), gaps()]).toEqual([[], []]);
  const stored = db.prepare("SELECT seq, body ->> 'text', hist FROM events ORDER BY seq").raw().all();
  expect(stored).toEqual([
    [1, "one", 0],
    [2, "boom", 1],
    [3, "three", 0],
  ]);
  expect(replay(1)).toMatchObject({ ok: false, error: { code: "NOT_FOUND" } });
  // Its device, told that it was taken, knows nothing of this; sent again it is a repetition as ever.
  expect(commit(message("event", 2, [event("boom")]))).toEqual([
    { outcome: "duplicate", ack: { epoch: EPOCH, upTo: 3, also: [] } },
  ]);
});

test("of a dead letter only what is not stored yet is taken, with the clock's correction of when it came", () => {
  const { commit, mend, replay, gaps, rows } = room({ table: "telemetry_batches", when: "new.to_seq = 6" });
  commit(message("telemetry", 1, [row(1), row(2), row(3), row(4)]));
  commit(message("telemetry", 3, [row(3), row(4), row(5), row(6)]));
  commit(message("telemetry", 7, [row(7)]));
  expect(gaps()).toEqual([[5, 6]]);
  mend();
  expect(replay(1)).toEqual({ ok: true, value: { records: 2 } });
  expect(gaps()).toEqual([]);
  expect(rows()).toEqual(
    [1, 2, 3, 4, 5, 6, 7].map((seq) => [seq, seq / 8, seq === 5 || seq === 6, seq * 1_000 + 4_000]),
  );
});

test("what still cannot be read, or says something else than what is stored, stays and changes nothing", () => {
  const { commit, mend, replay, letters, gaps, rows } = room({ table: "telemetry_batches", when: "new.to_seq = 3" });
  commit({ ...message("telemetry", 1, []), bytes: Buffer.from("noise") });
  commit(message("telemetry", 2, [row(2), row(3)]), message("telemetry", 1, [row(1)]));
  mend();
  const before = [letters(), gaps(), rows()];
  expect(replay(1)).toMatchObject({ error: { code: "DEAD_LETTER_NOT_REPLAYABLE", detail: { id: 1 } } });
  expect([letters(), gaps(), rows()]).toEqual(before);
  expect(replay(2)).toEqual({ ok: true, value: { records: 2 } });
  expect(rows().map(([seq]) => seq)).toEqual([1, 2, 3]);
});
