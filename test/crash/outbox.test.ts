import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { text } from "node:stream/consumers";
import { decodeBatch } from "@bellwether/protocol/batch.ts";
import type { Stream, StreamBatch, TelemetryRow } from "@bellwether/protocol/messages/stream.ts";
import { unwrap } from "@bellwether/protocol/result.ts";
import { expect, test } from "vitest";
import { openOutbox } from "../../agent/src/buffer/outbox.io.ts";
import { temporaryFolder } from "../kit/folder.ts";
import { drain, outboxOptions } from "../kit/outbox.ts";
import { startDisk } from "../kit/power.ts";

const ROUNDS = 7;
const CUTS = process.env["BELLWETHER_CAMPAIGN"] === "full" ? 50 : 3;

/** A folder to be killed on, and what happens beside the kill. */
interface Ground {
  readonly folder: string;
  /** Just before the kill. True: what the process calls committed from now on is no promise, for its machine has no power. */
  cut(): boolean;
  /** Resolves when the next life may begin. */
  restart(): Promise<void>;
}

const kills = (): Ground => ({ folder: temporaryFolder(), cut: () => false, restart: async () => undefined });
const powerCuts = (): Ground => {
  const disk = startDisk();
  const cut = () => {
    disk.cut();
    return true;
  };
  return { folder: disk.folder, cut, restart: () => disk.restart() };
};

/** Runs the child until it has said `lines` lines, then kills it; answers everything it said. */
async function runAndKill(
  file: string,
  seed: number,
  lines: number,
  env: Record<string, string>,
  ground: Ground,
): Promise<string[]> {
  const script = new URL("./outbox-child.ts", import.meta.url).pathname;
  const child = spawn(process.execPath, [script, file, String(seed)], {
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, ...env },
  });
  const gone = once(child, "exit");
  const trouble = text(child.stderr);
  const said: string[] = [];
  let unheard = false;
  for await (const line of createInterface({ input: child.stdout })) {
    // What stands in the pipe was said before or after the cut: nobody was promised it, but it may have been sent.
    if (unheard && !line.startsWith("sent ")) continue;
    said.push(line);
    if (said.length !== lines) continue;
    unheard = ground.cut();
    child.kill("SIGKILL");
  }
  await gone;
  // A disk without power lets a commit fail, and the child with it, in the moment before the kill.
  expect(child.signalCode === "SIGKILL" || /SQLITE_IOERR|OUTBOX_DISK_FAILED/.test(await trouble), await trouble).toBe(
    true,
  );
  expect(said.length).toBeGreaterThanOrEqual(lines);
  await ground.restart();
  return said;
}

/** What the rounds left: the batches that were sent, the epochs in order, and how many rows were reported committed. */
interface Story {
  readonly batches: StreamBatch[];
  readonly committed: number;
}

async function rounds(
  file: string,
  seed: number,
  {
    env = {},
    count = ROUNDS,
    ground = kills(),
  }: { env?: Record<string, string>; count?: number; ground?: Ground } = {},
): Promise<Story> {
  const batches: StreamBatch[] = [];
  let committed = 0;
  for (let round = 0; round < count; round++) {
    const said = await runAndKill(file, seed + round, 10 + ((seed >>> (round % 16)) % 90), env, ground);
    for (const [word, first = "", second = ""] of said.map((line) => line.split(" "))) {
      if (word === "committed") committed = Math.max(committed, Number(first));
      if (word === "sent") {
        const decoded = decodeBatch(first as Stream, Buffer.from(second, "base64"));
        // The last line may be cut by the kill.
        if (decoded.ok) batches.push(decoded.value);
      }
      // Nothing that was reported committed is missing when the next life begins.
      if (word === "opened") expect(Number(second)).toBeGreaterThanOrEqual(committed);
    }
  }
  return { batches, committed };
}

function seedOf(): number {
  const seed = Number(process.env["BELLWETHER_SEED"] ?? Date.now() % 1_000_000);
  console.log(`seed ${seed}: replay with BELLWETHER_SEED=${seed}`);
  return seed;
}

/** One seq names one record, whoever says it how often; gaps beside. */
function recordsBySeq(batches: readonly StreamBatch[]): Map<string, Map<number, TelemetryRow | "gap">> {
  const epochs = new Map<string, Map<number, TelemetryRow | "gap">>();
  for (const { epoch, fromSeq, records, gap } of batches) {
    const known = epochs.get(epoch) ?? new Map<number, TelemetryRow | "gap">();
    epochs.set(epoch, known);
    for (let index = 0; index < (gap?.count ?? records.length); index++) {
      const record = gap === undefined ? (records[index] as TelemetryRow) : "gap";
      const before = known.get(fromSeq + index);
      if (before !== undefined && before !== "gap" && record !== "gap") expect(record).toEqual(before);
      if (before === undefined || before === "gap") known.set(fromSeq + index, record);
    }
  }
  return epochs;
}

test.each([
  ["killed at any moment", ROUNDS, kills],
  [`in ${CUTS} power cuts`, CUTS, powerCuts],
] as const)(
  "%s, the outbox loses nothing it called committed, and no seq is missing or given twice",
  { timeout: 3_600_000 },
  async (_, count, on) => {
    const ground = on();
    const file = join(ground.folder, "outbox.sqlite");
    const { batches, committed } = await rounds(file, seedOf(), { count, ground });
    expect(committed).toBeGreaterThan(0);
    const outbox = unwrap(openOutbox(file, outboxOptions({ keepAckedMs: 60_000 })));
    const made = Number(outbox.cursors()["made"]);
    batches.push(...drain(outbox));
    unwrap(outbox.close());
    // Rows and cursor moved together: the rows are exactly those before the cursor, each once over all epochs.
    expect(made).toBeGreaterThanOrEqual(committed);
    const seen = new Set<number>();
    for (const stored of recordsBySeq(batches).values()) {
      for (const record of stored.values()) {
        if (record === "gap") throw new Error("a gap, though nothing gave way");
        seen.add(record.observedAtMs);
        expect(record.values).toEqual({ vib: Math.sin(record.observedAtMs), load: record.observedAtMs });
      }
    }
    expect(seen.size).toBe(made);
    expect([...seen].reduce((a, b) => Math.max(a, b))).toBe(made - 1);
    console.log(`${count} lives; ${committed} rows were called committed, ${made} are there`);
  },
);

test("killed while records give way, every seq is still either a record or part of a counted gap", async () => {
  const file = join(temporaryFolder(), "outbox.sqlite");
  const env = { OUTBOX_MAX_BYTES: "300000" };
  const { batches, committed } = await rounds(file, seedOf() + 7, { env });
  const outbox = unwrap(openOutbox(file, outboxOptions({ maxBytes: 300_000, keepAckedMs: 60_000 })));
  const { epoch } = outbox;
  const held = drain(outbox);
  const { next } = outbox.positions().streams.find(({ stream }) => stream === "telemetry")!;
  const made = Number(outbox.cursors()["made"]);
  unwrap(outbox.close());
  expect(made).toBeGreaterThanOrEqual(committed);
  const stored = recordsBySeq([...batches, ...held]).get(epoch) ?? new Map<number, TelemetryRow | "gap">();
  for (let seq = 1; seq < next; seq++) expect(stored.has(seq), `seq ${seq} of ${next - 1}`).toBe(true);
  const times = [...stored].sort(([a], [b]) => a - b).flatMap(([, one]) => (one === "gap" ? [] : [one.observedAtMs]));
  expect(times.length).toBeLessThan(next - 1);
  expect(times).toEqual([...times].sort((a, b) => a - b));
  expect(new Set(times).size).toBe(times.length);
});

test("a disk without room: the agent stays alive and says so, and every row is there or in a counted gap", () => {
  const file = join(temporaryFolder(), "outbox.sqlite");
  const script = new URL("./outbox-limited-child.ts", import.meta.url).pathname;
  // A write beyond the limit fails with EFBIG, as one to a full disk does with ENOSPC: no root is needed for it.
  const limited = spawnSync("sh", ["-c", `ulimit -f 2000; exec "$0" "$@"`, process.execPath, script, file, "120"]);
  const said = limited.stdout.toString("utf8").trim().split("\n");
  expect([limited.status, limited.stderr.toString("utf8")]).toEqual([0, ""]);
  const codes = said.filter((line) => line.startsWith("noticed")).map((line) => line.split(" ")[1]);
  expect(codes.some((code) => code === "OUTBOX_DISK_FULL" || code === "OUTBOX_DISK_FAILED")).toBe(true);
  const committed = Number(
    said
      .filter((line) => line.startsWith("committed"))
      .at(-1)
      ?.split(" ")[1],
  );
  expect(said.at(-1)).toContain("alive shedding");

  const outbox = unwrap(openOutbox(file, outboxOptions()));
  const made = Number(outbox.cursors()["made"]);
  const held = drain(outbox);
  const { next } = outbox.positions().streams.find(({ stream }) => stream === "telemetry")!;
  const stored = recordsBySeq(held).get(outbox.epoch) ?? new Map<number, TelemetryRow | "gap">();
  unwrap(outbox.close());
  expect(made).toBe(committed);
  expect([next - 1, stored.size]).toEqual([made, made]);
  for (const [seq, record] of stored) if (record !== "gap") expect(record.observedAtMs).toBe(seq - 1);
});
