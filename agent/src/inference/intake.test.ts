import type { TelemetryRow } from "@bellwether/protocol/messages/stream.ts";
import { expect, test } from "vitest";
import type { OutboxEntry } from "../buffer/outbox.ts";
import { Intake } from "./intake.ts";

const row = (asset: string, observedAtMs: number): TelemetryRow => ({ asset, observedAtMs, values: { x: 1 } });
/** Lets everything that is ready run. */
const turn = () => new Promise((done) => setImmediate(done));

function plant(options: { fails?: boolean; rowsPerCommit?: number } = {}) {
  const passes: (readonly TelemetryRow[])[] = [];
  const entries: OutboxEntry[] = [];
  const failures: unknown[] = [];
  let commits = 0;
  const intake = new Intake({
    async process(rows) {
      passes.push(rows);
      await turn();
      if (options.fails) throw new Error("features broke");
      return { inference: [], events: [], drift: [] };
    },
    append: (entry) => void entries.push(entry),
    commit: (when) => {
      if (when === "soon") return;
      commits++;
      intake.committed();
    },
    failed: (cause) => void failures.push(cause),
    rowsPerCommit: options.rowsPerCommit ?? 1_000,
  });
  return { intake, passes, entries, failures, commits: () => commits };
}

test("rows are taken when they are durable, not when they were processed", async () => {
  const { intake, entries } = plant();
  let taken = false;
  const offer = intake.offer("sim", [row("a", 1)], { index: 1 }).then(() => {
    taken = true;
  });
  await intake.idle();
  expect(entries[0]).toEqual({ rows: [row("a", 1)], cursor: { input: "sim", value: { index: 1 } } });
  expect(taken).toBe(false);
  intake.committed();
  await offer;
  expect(taken).toBe(true);
});

test("what is offered during a pass becomes one pass together, each with its own cursor", async () => {
  const { intake, passes, entries } = plant();
  void intake.offer("one", [row("a", 1)], 1);
  await Promise.resolve();
  await Promise.resolve();
  void intake.offer("two", [row("b", 2)], 2);
  void intake.offer("three", [row("c", 3)], 3);
  await intake.idle();
  expect(passes.map((rows) => rows.map(({ asset }) => asset))).toEqual([["a"], ["b", "c"]]);
  expect(entries.flatMap(({ cursor }) => (cursor ? [cursor] : []))).toEqual([
    { input: "one", value: 1 },
    { input: "two", value: 2 },
    { input: "three", value: 3 },
  ]);
});

test("many rows do not wait for the outbox's own moment", async () => {
  const { intake, commits } = plant({ rowsPerCommit: 3 });
  const first = intake.offer("sim", [row("a", 1), row("a", 2)]);
  await intake.idle();
  expect(commits()).toBe(0);
  await Promise.all([first, intake.offer("sim", [row("a", 3)])]);
  expect(commits()).toBe(1);
});

test("rows are kept even where the models fail on them", async () => {
  const { intake, entries, failures } = plant({ fails: true });
  void intake.offer("sim", [row("a", 1)]);
  await intake.idle();
  expect(failures).toHaveLength(1);
  expect(entries[0]!.rows).toEqual([row("a", 1)]);
});

test("models are exchanged between passes, never during one", async () => {
  const { intake, passes } = plant();
  const log: string[] = [];
  void intake.offer("sim", [row("a", 1)]);
  await Promise.resolve();
  await Promise.resolve();
  const exchange = intake.exclusive(async () => {
    log.push(`after ${passes.length}`);
    void intake.offer("sim", [row("a", 2)]);
    await turn();
    await turn();
    log.push(`still ${passes.length}`);
  });
  await exchange;
  await intake.idle();
  expect(log).toEqual(["after 1", "still 1"]);
  expect(passes).toHaveLength(2);
});

test("a failed exchange does not stop the passes after it", async () => {
  const { intake, passes } = plant();
  await expect(intake.exclusive(async () => Promise.reject(new Error("no")))).rejects.toThrow("no");
  void intake.offer("sim", [row("a", 1)]);
  await intake.idle();
  expect(passes).toHaveLength(1);
});
