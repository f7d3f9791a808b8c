import { encodeBatch } from "@bellwether/protocol/batch.ts";
import type { Stream, StreamBatch } from "@bellwether/protocol/messages/stream.ts";
import Database from "better-sqlite3";
import { expect, test } from "vitest";
import { endedOf } from "../../../../test/kit/ingest.ts";
import { groupOf, messageAt } from "../../ingest/message-group.ts";
import type { IncomingBatch } from "../ingest.ts";
import { driftMigrations } from "./drift.ts";
import { ingest, ingestMigrations } from "./ingest.ts";
import { ingestWire } from "./ingest-wire.ts";

const clock = { bootId: "b", monoMs: 0, wallMs: 0, clockSynced: true };
const row = (n: number, asset = "pump-1") => ({ asset, observedAtMs: n * 1_000, values: { vib: n / 8 } });

function message(stream: Stream, fromSeq: number, records: readonly unknown[], device = "gw-1"): IncomingBatch {
  const batch = { v: 1, epoch: "00000000000000aa", stream, fromSeq, records, hist: false, clock } as StreamBatch;
  return { device, site: "s", stream, bytes: encodeBatch(batch), receivedAtMs: 5_000 };
}

function room() {
  const db = new Database(":memory:");
  for (const sql of [...ingestMigrations, ...driftMigrations]) db.exec(sql);
  const commit = db.transaction((batches: readonly IncomingBatch[]) => {
    const group = groupOf(batches);
    return endedOf(group.sourceOf, ingest.commit.run(db, { group, withRecords: false }));
  });
  return {
    db,
    commit,
    rows: () =>
      ingest.rows.run(db, { batches: 1_000 }).rows.map(({ device, seq, values }) => [device, seq, values["vib"]]),
    stored: () => db.prepare("SELECT count(*) FROM telemetry_batches").pluck().get(),
    latest: () => ingest.latest.run(db, {}).map(({ asset, row: newest }) => [asset, newest?.record.values["vib"]]),
  };
}

test("messages of a device that follow each other lie together, and are read one by one", () => {
  const { commit, rows, stored, latest } = room();
  const group = [1, 2, 3, 4].flatMap((seq) => [
    message("telemetry", 2 * seq - 1, [row(2 * seq - 1), row(2 * seq, "pump-2")]),
    message("telemetry", seq === 4 ? 9 : seq, [row(seq, "fan-1")], "gw-2"),
  ]);
  expect(commit(group).map(({ outcome }) => outcome)).toEqual(Array(8).fill("committed"));
  // A hole ends what lies together.
  expect(stored()).toBe(3);
  const own = (n: number) => ["gw-1", n, n / 8];
  expect(rows().filter(([device]) => device === "gw-1")).toEqual([1, 2, 3, 4, 5, 6, 7, 8].map(own));
  expect(
    rows()
      .filter(([device]) => device === "gw-2")
      .map(([, seq]) => seq),
  ).toEqual([1, 2, 3, 9]);
  expect(latest()).toEqual([
    ["fan-1", 4 / 8],
    ["pump-1", 7 / 8],
    ["pump-2", 8 / 8],
  ]);
  // Cut otherwise, the same records are repetitions, and others contradict, wherever in it they stand.
  const again = commit([
    message("telemetry", 4, [row(4, "pump-2"), row(5), row(6, "pump-2")]),
    message("telemetry", 6, [row(6, "pump-2"), row(99)]),
  ]);
  expect(again.map(({ outcome }) => outcome)).toEqual(["duplicate", "conflict"]);
});

test("one message that cannot be stored fails alone, wherever in the group it stands", () => {
  const { db, commit, rows, latest } = room();
  db.exec(
    `CREATE TRIGGER refuse BEFORE INSERT ON events WHEN new.body LIKE '%boom%' BEGIN SELECT RAISE(ABORT, 'boom'); END`,
  );
  const event = (text: string) => ({ atMs: 1, kind: "device", severity: "info", code: "X", text });
  const answers = commit([
    message("telemetry", 1, [row(1), row(2)]),
    message("event", 1, [event("fine")]),
    message("event", 2, [event("boom")]),
    message("telemetry", 3, [row(3)]),
    message("event", 3, [event("fine, too")]),
  ]);
  expect(answers.map(({ outcome }) => outcome)).toEqual(["committed", "committed", "poison", "committed", "committed"]);
  expect(answers.at(-1)?.ack).toEqual({ epoch: "00000000000000aa", upTo: 3, also: [] });
  expect(rows().map(([, seq]) => seq)).toEqual([1, 2, 3]);
  expect(latest()).toEqual([["pump-1", 3 / 8]]);
  expect(db.prepare("SELECT count(*) FROM events").pluck().get()).toBe(2);
  expect(db.prepare("SELECT code FROM dead_letters").pluck().all()).toEqual(["INTERNAL"]);
});

test("a group and its answer come out of the threads' wire as they went in, and its bytes change hands", () => {
  const { db } = room();
  const messages = [
    message("telemetry", 1, [row(1)]),
    message("telemetry", 5, [row(5)]),
    message("telemetry", 1, [row(7)]),
    { ...message("event", 1, []), bytes: Buffer.from("noise") },
  ];
  const sent = groupOf(messages);
  const { packed, transfer } = ingestWire.packArgs({ group: sent, withRecords: true });
  const { group, withRecords } = ingestWire.unpackArgs(structuredClone(packed, { transfer }));
  expect([withRecords, sent.bytes.byteLength]).toEqual([true, 0]);
  const arrived = messages.map((_, index) => messageAt(group, index));
  expect(arrived.map((one) => ({ ...one, bytes: Buffer.from(one.bytes) }))).toEqual(
    messages.map((one) => ({ ...one, bytes: Buffer.from(one.bytes) })),
  );
  const answer = ingest.commit.run(db, { group, withRecords });
  const ended = endedOf(group.sourceOf, answer).map(({ outcome }) => outcome);
  expect(ended).toEqual(["committed", "committed", "conflict", "poison"]);
  expect(answer.batches.map(({ records }) => records)).toEqual([[row(1)], [row(5)]]);
  const handedBack = ingestWire.handBack?.(answer) ?? [];
  const replied = structuredClone(ingestWire.packAnswer(answer), { transfer: handedBack });
  const { memory, ...unpacked } = ingestWire.unpackAnswer({ group, withRecords }, replied);
  const { memory: gone, ...rest } = answer;
  expect(unpacked).toEqual(rest);
  for (const part of ["bytes", "words"] as const) {
    expect(memory[part].byteLength).toBeGreaterThan(0);
    expect(gone[part].byteLength).toBe(0);
  }
});

test("rows that are not asked for are committed all the same, and it is said how many they are and whose; events always come", () => {
  const { db, rows } = room();
  const event = { atMs: 1, kind: "device", severity: "info", code: "X", text: "x" };
  const messages = [
    message("telemetry", 1, [row(1)]),
    message("telemetry", 2, [row(2, "pump-2"), row(3)]),
    message("event", 1, [event]),
    message("telemetry", 4, [row(4)]),
  ];
  const asked = (telemetryEvery: number) =>
    ingest.commit.run(db, { group: groupOf(messages), withRecords: true, telemetryEvery });
  const answer = asked(3);
  expect(answer.batches.map(({ stream, records }) => [stream, records])).toEqual([
    ["telemetry", [row(1)]],
    ["event", [event]],
    ["telemetry", [row(4)]],
  ]);
  expect(answer.leftOut.rows).toBe(2);
  expect(answer.leftOut.assets.map(({ asset }) => asset).sort()).toEqual(["pump-1", "pump-2"]);
  expect(rows().map(([, seq]) => seq)).toEqual([1, 2, 3, 4]);
  // What came again is nothing new: nobody misses it.
  expect(asked(0)).toMatchObject({ batches: [], leftOut: { rows: 0, assets: [] } });
});
