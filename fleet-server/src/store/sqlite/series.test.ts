import { statSync } from "node:fs";
import { join } from "node:path";
import { encodeBatch } from "@bellwether/protocol/batch.ts";
import type { StreamBatch, TelemetryRow } from "@bellwether/protocol/messages/stream.ts";
import { seededRandom } from "@bellwether/protocol/random.ts";
import { unwrap } from "@bellwether/protocol/result.ts";
import Database from "better-sqlite3";
import { describe, expect, it } from "vitest";
import { temporaryFolder } from "../../../../test/kit/folder.ts";
import { commitTogether } from "../../../../test/kit/ingest.ts";
import { temporaryStore } from "../../../../test/kit/store.ts";
import { HOUR_MS, MINUTE_MS } from "../../series/figures.ts";
import { type MinuteTable, piecesOf } from "../../series/minute-table.ts";
import type { Store } from "../store.ts";
import { MIGRATIONS, migrate } from "./migrations.ts";
import { GROUP_SERIES_MAX } from "./series-minutes.ts";
import { openWriter } from "./store.worker.ts";

const DAY_MS = 24 * HOUR_MS;

/** Messages of one device, whose seqs the caller chooses; its clock is `behindMs` behind where it says it is not synchronised. */
function message(
  fromSeq: number,
  records: readonly TelemetryRow[],
  change: { hist?: boolean; behindMs?: number; atMs?: number } = {},
) {
  const { hist = false, behindMs, atMs = 0 } = change;
  const clock = { bootId: `b-${behindMs}`, monoMs: 0, wallMs: atMs, clockSynced: behindMs === undefined };
  const batch = { v: 1, epoch: "00000000000000aa", stream: "telemetry", fromSeq, records, hist, clock } as StreamBatch;
  return {
    device: "gw-1",
    site: "s",
    stream: "telemetry",
    bytes: encodeBatch(batch),
    receivedAtMs: atMs + (behindMs ?? 0),
  } as const;
}

/** Far smaller pieces than the server's: a slice of some rows has several, and may be left in the middle. */
const PIECE_MINUTES = 25;

async function rollUp(store: Store, piecesMax = Number.POSITIVE_INFINITY): Promise<void> {
  let written = 0;
  for (;;) {
    const found = await store.series.pending({});
    if (!found) return;
    const pieces = piecesOf(found.minutes, PIECE_MINUTES);
    for (let piece = found.slice.done; piece < pieces.length; piece++) {
      const args = {
        slice: { ...found.slice, done: piece },
        minutes: pieces[piece] as MinuteTable,
        last: piece === pieces.length - 1,
      };
      expect(await store.series.keep(args)).toBe(true);
      // Whoever comes second with the same piece changes nothing.
      expect(await store.series.keep(args)).toBe(false);
      if (++written >= piecesMax) return;
    }
  }
}

async function packAll(store: Store, beforeMs: number): Promise<void> {
  for (let fromGroup: number | undefined = 0; fromGroup !== undefined; ) {
    fromGroup = ((await store.series.pack({ beforeMs, fromGroup })) as { next?: number }).next;
  }
}

/** The same figures straight from the rows. */
function truth(rows: readonly { atMs: number; value: number | undefined; hist: boolean }[], stepMs: number) {
  const steps = Map.groupBy(
    rows.filter(({ value }) => value !== undefined),
    ({ atMs }) => Math.floor(atMs / stepMs) * stepMs,
  );
  const ordered = [...steps].sort(([one], [other]) => one - other);
  const of = (choose: (values: number[], step: typeof rows) => number) =>
    ordered.map(([, step]) =>
      choose(
        step.map(({ value }) => value as number),
        step,
      ),
    );
  return {
    atMs: ordered.map(([atMs]) => atMs),
    count: of((values) => values.length),
    min: of((values) => Math.min(...values)),
    max: of((values) => Math.max(...values)),
    last: of((_, step) => step.reduce((a, b) => (b.atMs >= a.atMs ? b : a)).value as number),
    backfilled: ordered.flatMap(([, step], index) => (step.some(({ hist }) => hist) ? [index] : [])),
    mean: of((values) => values.reduce((a, b) => a + b, 0) / values.length),
  };
}

describe("figures per minute and hour", () => {
  it("are those of the committed rows: late, backfilled, out of order, interrupted and packed in between", async () => {
    const seed = Math.floor(Math.random() * 2 ** 31);
    const { next: random } = seededRandom(seed);
    const dir = temporaryFolder("store-");
    let store = await temporaryStore(dir);
    const days = 3;
    const committed: { atMs: number; value: number | undefined; hist: boolean }[] = [];
    // Blocks of seqs arrive in any order; some as backfill, some from a clock that is behind.
    const blocks = Array.from({ length: 120 }, (_, index) => index).sort(() => random() - 0.5);
    for (const [turn, block] of blocks.entries()) {
      const hist = random() < 0.3;
      const behindMs = random() < 0.2 ? 2 * HOUR_MS : undefined;
      const records = Array.from({ length: 40 }, (): TelemetryRow => {
        const atMs = Math.floor(random() * days * DAY_MS);
        const value = random() < 0.1 ? undefined : Math.round(random() * 1e4) / 100;
        committed.push({ atMs: atMs + (behindMs ?? 0), value, hist });
        return { asset: "pump-1", observedAtMs: atMs, values: { vib: value ?? null, temp: 20 } };
      });
      await commitTogether(
        store.ingest.commit,
        [message(1 + block * 40, records, { hist, behindMs: behindMs ?? 0, atMs: 1 })].map((one) =>
          behindMs === undefined ? message(1 + block * 40, records, { hist }) : one,
        ),
      );
      if (turn % 17 === 0) await rollUp(store, 1);
      if (turn % 29 === 0) await packAll(store, Math.floor(random() * days * DAY_MS));
      if (turn === 60) {
        await store.close();
        store = await temporaryStore(dir);
      }
    }
    await rollUp(store);
    expect(await store.series.waiting({})).toBe(0);
    for (const packedMs of [0, 2 * DAY_MS, (days + 1) * DAY_MS]) {
      await packAll(store, packedMs);
      for (const stepMs of [MINUTE_MS, 7 * MINUTE_MS, HOUR_MS, 6 * HOUR_MS]) {
        const query = {
          assets: ["pump-1"],
          channels: ["vib"],
          fromMs: 0,
          toMs: (days + 1) * DAY_MS,
          stepMs,
          limit: 10,
        };
        const {
          items: [found],
        } = await store.series.points(query);
        const { mean, gaps: _, ...exact } = found?.points ?? (undefined as never);
        const { mean: means, ...expected } = truth(committed, stepMs);
        expect(exact, `seed ${seed}`).toEqual(expected);
        // The values lie between 0 and 100, both included.
        for (const [index, one] of mean.entries()) expect(Math.abs(one - means[index]!)).toBeLessThan(1e-12 * 100);
      }
    }
  });

  it("know the newest value of every channel, also of one that the newest row lacks", async () => {
    const store = await temporaryStore();
    const row = (atMs: number, values: TelemetryRow["values"]) => ({ asset: "pump-1", observedAtMs: atMs, values });
    const commit = async (fromSeq: number, ...records: TelemetryRow[]) => {
      await commitTogether(store.ingest.commit, [message(fromSeq, records)]);
      await rollUp(store);
    };
    await commit(1, row(1_000, { vib: 1, temp: 20 }), row(2_000, { temp: 21 }));
    const current = async () =>
      (await store.series.current({ sites: ["s"], limit: 10 })).map(({ channel, value, correctedAtMs }) => [
        channel,
        value,
        correctedAtMs,
      ]);
    expect(await current()).toEqual([
      ["temp", 21, 2_000],
      ["vib", 1, 1_000],
    ]);
    await packAll(store, DAY_MS * 2);
    expect(await current()).toEqual([
      ["temp", 21, 2_000],
      ["vib", 1, 1_000],
    ]);
    await commit(3, row(3_000, { vib: null }));
    expect(await current()).toEqual([
      ["temp", 21, 2_000],
      ["vib", null, 3_000],
    ]);
    expect(await store.series.current({ sites: ["other"], limit: 10 })).toEqual([]);
  });

  it("are every channel's own where an asset has many, which come at different times", async () => {
    const store = await temporaryStore();
    const channels = Array.from({ length: 3 * GROUP_SERIES_MAX + 2 }, (_, index) => `c${index}`);
    const reading = (channel: string, minute: number) => Number(channel.slice(1)) * 100 + minute;
    const { next: random } = seededRandom(7);
    const truth = new Map<string, { atMs: number[]; last: number[] }>();
    let seq = 1;
    for (let minute = 0; minute < 60; minute++) {
      // Some more are known with every minute, and of those each minute has some.
      const had = channels.slice(0, 2 + minute).filter(() => random() < 0.6);
      // Half of them come a little later, once the others are in the figures.
      for (const part of [0, 1]) {
        const own = had.filter((_, index) => index % 2 === part);
        if (own.length === 0) continue;
        const values = Object.fromEntries(own.map((channel) => [channel, reading(channel, minute)]));
        const row = { asset: "pump-1", observedAtMs: minute * MINUTE_MS, values };
        await commitTogether(store.ingest.commit, [message(seq++, [row])]);
        if (minute % 7 === 0) await rollUp(store);
      }
      for (const channel of had) {
        const own = truth.get(channel) ?? { atMs: [], last: [] };
        truth.set(channel, own);
        own.atMs.push(minute * MINUTE_MS);
        own.last.push(reading(channel, minute));
      }
    }
    await rollUp(store);
    for (const packedMs of [0, DAY_MS]) {
      await packAll(store, packedMs);
      const { items } = await store.series.points({ fromMs: 0, toMs: HOUR_MS, stepMs: MINUTE_MS, limit: 100 });
      const found = items.map(({ channel, points: { atMs, last } }) => [channel, { atMs, last }] as const);
      expect(new Map(found)).toEqual(truth);
      const current = await store.series.current({ limit: 100 });
      expect(new Map(current.map(({ channel, value }) => [channel, value]))).toEqual(
        new Map([...truth].map(([channel, { last }]) => [channel, last.at(-1)])),
      );
    }
  });

  it("stay what they were where an older program has a row for each minute of each channel", async () => {
    const dir = temporaryFolder("store-");
    const old = new Database(join(dir, "fleet.sqlite"));
    unwrap(migrate(old, { ...MIGRATIONS, series: MIGRATIONS["series"]?.slice(0, 1) ?? [] }));
    const key = old.prepare("INSERT INTO series_keys (id, site, asset, channel) VALUES (?, 's', ?, ?)");
    const minute = old.prepare("INSERT INTO rollup_minutes VALUES (?, ?, 2, 1, ?, ?, ?, 0, ?, ?)");
    const channels = Array.from({ length: 2 * GROUP_SERIES_MAX }, (_, index) => index);
    const assetOf = (channel: number) => `pump-${channel % 2}`;
    for (const channel of channels) {
      key.run(channel + 1, assetOf(channel), `c${channel}`);
      for (const at of [channel, 100]) {
        minute.run(channel + 1, at, -channel, channel, 0, channel, at * MINUTE_MS + channel);
      }
    }
    old.close();
    const store = await temporaryStore(dir);
    const { items } = await store.series.points({ fromMs: 0, toMs: 2 * HOUR_MS, stepMs: MINUTE_MS, limit: 100 });
    expect(items.length).toBe(channels.length);
    for (const { asset, channel, points } of items) {
      const number = Number(channel.slice(1));
      expect(asset).toBe(assetOf(number));
      expect(points).toMatchObject({
        ...{ atMs: [number * MINUTE_MS, 100 * MINUTE_MS], count: [2, 2], min: [0 - number, 0 - number] },
        ...{ mean: [0, 0], max: [number, number], last: [number, number], backfilled: [0, 1] },
      });
    }
    // What comes now joins what was there.
    const values = Object.fromEntries(channels.map((channel) => [`c${channel}`, 1_000]));
    const records = ["pump-0", "pump-1"].map((asset) => ({ asset, observedAtMs: 100 * MINUTE_MS, values }));
    await commitTogether(store.ingest.commit, [message(1, records)]);
    await rollUp(store);
    const { items: after } = await store.series.points({
      ...{ fromMs: 100 * MINUTE_MS, toMs: 101 * MINUTE_MS, stepMs: MINUTE_MS, limit: 100 },
    });
    const counts = Map.groupBy(after, ({ points }) => points.count[0]);
    expect([counts.get(3)?.length, counts.get(1)?.length]).toEqual([channels.length, channels.length]);
  });

  it("are made of what a store of an older program holds", async () => {
    const dir = temporaryFolder("store-");
    const old = new Database(join(dir, "fleet.sqlite"));
    const { series: _, ...before } = MIGRATIONS;
    unwrap(migrate(old, { ...before, ingest: MIGRATIONS["ingest"]?.slice(0, 4) ?? [] }));
    const insert = old.prepare(
      `INSERT INTO telemetry_batches VALUES ('gw-1', 1, ?, ?, 's', '["pump-1"]', 0, 0, 0, 0, 0, ?, NULL)`,
    );
    for (const seq of [3, 1, 2])
      insert.run(
        seq,
        seq,
        message(seq, [{ asset: "pump-1", observedAtMs: seq * MINUTE_MS, values: { vib: seq } }]).bytes,
      );
    old.close();
    const store = await temporaryStore(dir);
    await rollUp(store);
    const {
      items: [found],
    } = await store.series.points({ fromMs: 0, toMs: HOUR_MS, stepMs: MINUTE_MS, limit: 10 });
    expect(found?.points.last).toEqual([1, 2, 3]);
  });
});

describe("retention", () => {
  async function sweepAll(store: Store, beforeMs: number, committedBeforeMs: number): Promise<number> {
    let deleted = 0;
    for (let after: readonly (string | number)[] | undefined, more = true; more; ) {
      const slice = await store.retention.sweep({
        retained: "telemetry",
        beforeMs,
        committedBeforeMs,
        ...(after ? { after } : {}),
      });
      deleted += slice.deleted;
      after = slice.next;
      more = after !== undefined;
    }
    return deleted;
  }

  it("deletes what is old and rolled up; nothing of it counts as lost or is asked for again, and the file shrinks", async () => {
    const dir = temporaryFolder("store-");
    const store = await temporaryStore(dir);
    const { next: noise } = seededRandom(1);
    const rows = (n: number) =>
      Array.from(
        { length: 100 },
        (_, index): TelemetryRow => ({
          asset: "pump-1",
          observedAtMs: n * HOUR_MS + index * 1_000,
          values: Object.fromEntries(Array.from({ length: 60 }, (_, channel) => [`c${channel}`, noise()])),
        }),
      );
    const messages = Array.from({ length: 120 }, (_, n) =>
      message(1 + n * 100, rows(n), { atMs: n * HOUR_MS, behindMs: 0 }),
    );
    await commitTogether(store.ingest.commit, messages);
    // Not in the figures yet: it stays.
    expect(await sweepAll(store, 80 * HOUR_MS, 1_000 * HOUR_MS)).toBe(0);
    await rollUp(store);
    // Committed lately: it stays, whatever its time.
    expect(await sweepAll(store, 80 * HOUR_MS, 40 * HOUR_MS)).toBe(40);
    expect(await sweepAll(store, 80 * HOUR_MS, 1_000 * HOUR_MS)).toBe(40);
    expect((await store.ingest.rows({ batches: 1_000 })).rows.length).toBe(4_000);
    expect(await store.ingest.counts({})).toEqual({ deadLetters: 0, gapRecords: 0 });
    const answers = await commitTogether(store.ingest.commit, messages.slice(0, 2));
    expect(answers.map(({ outcome, ack }) => [outcome, ack?.upTo])).toEqual([
      ["duplicate", 12_000],
      ["duplicate", 12_000],
    ]);
    const {
      items: [found],
    } = await store.series.points({
      channels: ["c0"],
      fromMs: 0,
      toMs: 120 * HOUR_MS,
      stepMs: HOUR_MS,
      limit: 1,
    });
    expect(found?.points.count).toEqual(Array(120).fill(100));
    const before = await store.retention.space({});
    while (await store.retention.giveBack({}));
    const after = await store.retention.space({});
    expect(after.bytes).toBeLessThan(before.bytes * 0.75);
    await store.close();
    expect(statSync(join(dir, "fleet.sqlite")).size).toBe(after.bytes);
  });

  it("never deletes the newest, so that no id is given twice", async () => {
    const store = await temporaryStore();
    await commitTogether(store.ingest.commit, [message(1, [{ asset: "a", observedAtMs: 0, values: { v: 1 } }])]);
    await rollUp(store);
    expect(await sweepAll(store, 1e12, 1e12)).toBe(0);
    await commitTogether(store.ingest.commit, [message(2, [{ asset: "a", observedAtMs: 1, values: { v: 2 } }])]);
    await rollUp(store);
    const {
      items: [found],
    } = await store.series.points({ fromMs: 0, toMs: MINUTE_MS, stepMs: MINUTE_MS, limit: 1 });
    expect(found?.points).toMatchObject({ count: [2], last: [2] });
  });

  it("gives a store that could not shrink the means to, once", () => {
    const file = join(temporaryFolder("store-"), "fleet.sqlite");
    const old = new Database(file);
    unwrap(migrate(old));
    old.close();
    const { db, release } = unwrap(openWriter(file));
    expect(db.pragma("auto_vacuum", { simple: true })).toBe(2);
    db.close();
    release();
  });
});
