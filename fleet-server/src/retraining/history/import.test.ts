import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { unwrap } from "@bellwether/protocol/result.ts";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { temporaryFolder } from "../../../../test/kit/folder.ts";
import type { HistoryLimits } from "./collect.ts";
import { readHistory } from "./import.io.ts";
import type { HistoryRequest } from "./request.ts";
import { decodeSnapshot, encodeSnapshot } from "./snapshot.ts";

const DIGEST = `sha256:${"1".repeat(64)}`;
type Options = Omit<Partial<HistoryRequest>, "samples" | "failures">;

async function imported(samples: string | Buffer, options: Options = {}, failures?: string, limits?: HistoryLimits) {
  const folder = temporaryFolder("import-");
  const paths = { samples: join(folder, "samples"), failures: join(folder, "failures") };
  writeFileSync(paths.samples, samples);
  if (failures !== undefined) writeFileSync(paths.failures, failures);
  const request: HistoryRequest = {
    samples: { digest: DIGEST, fileName: "samples.csv" },
    ...(failures === undefined ? {} : { failures: { digest: DIGEST, fileName: "failures.csv" } }),
    ...options,
  };
  return await readHistory(failures === undefined ? { samples: paths.samples } : paths, request, limits);
}

const iso = (minute: number) => new Date(Date.UTC(2026, 0, 1, 0, minute)).toISOString();

describe("a plain CSV", () => {
  const text = [
    "asset,time,vibration [mm/s],temp [[degF]],note,target",
    `pump-2,${iso(0)},1.5,70,ok,9`,
    `pump-10,${iso(0)},2.5,,started,8`,
    `pump-2,${iso(2)},1.7,72,ok,7`,
    `pump-2,${iso(1)},1.6,71,x,`,
    `pump-2,${iso(1)},1.6,71,x,`,
    `pump-2,${iso(1)},9.9,71,x,1`,
    `pump-2,${iso(60)},oops,73,x,0`,
  ].join("\r\n");

  test("is put in order by asset and time; what is odd is counted", async () => {
    const { snapshot, report } = unwrap(await imported(text, { targetColumn: "target" }));
    expect(snapshot.channels).toEqual([
      { channel: "vibration", unit: "mm/s" },
      { channel: "temp", unit: "[degF]" },
    ]);
    expect(snapshot.assets.map(({ asset }) => asset)).toEqual(["pump-2", "pump-10"]);
    const [two] = snapshot.assets;
    expect([...two!.timesMs]).toEqual([0, 1, 2, 60].map((minute) => Date.parse(iso(minute))));
    expect([...two!.channels[0]!]).toEqual([1.5, 1.6, 1.7, Number.NaN]);
    expect([...two!.target!]).toEqual([9, Number.NaN, 7, 0]);
    expect(report).toMatchObject({
      rows: 5,
      assets: 2,
      duplicates: 1,
      contradictions: 1,
      outOfOrder: 1,
      intervalMs: 60_000,
      gaps: 1,
      largestGaps: [{ asset: "pump-2", fromMs: Date.parse(iso(2)), toMs: Date.parse(iso(60)) }],
      timeKind: "with a zone",
      failures: 0,
      ignored: [{ column: "note", reason: 'mostly text, such as "ok" at line 2' }],
      target: { column: "target", values: 4, missing: 1, min: 0, max: 9 },
    });
    expect(report.channels[0]).toMatchObject({
      nonNumeric: 1,
      nonNumericExample: '"oops" at line 8',
      unitDeclared: true,
    });
    expect(report.channels[1]).toMatchObject({ missing: 1 });
  });

  test("a snapshot comes back from its bytes, and nothing else does", async () => {
    const { snapshot } = unwrap(await imported(text, { targetColumn: "target" }));
    const bytes = Buffer.concat([...encodeSnapshot(snapshot)]);
    expect(unwrap(decodeSnapshot(bytes))).toEqual(snapshot);
    // Unaligned, as a slice of Node's pool may be.
    expect(unwrap(decodeSnapshot(Buffer.concat([Buffer.from("x"), bytes]).subarray(1)))).toEqual(snapshot);
    expect(decodeSnapshot(bytes.subarray(0, bytes.length - 8)).ok).toBe(false);
    expect(decodeSnapshot(Buffer.concat([bytes, bytes.subarray(0, 8)])).ok).toBe(false);
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), fc.nat(200), (noise, at) => {
        const broken = Buffer.from(bytes);
        broken.set(noise, Math.min(at, 16));
        expect(decodeSnapshot(broken)).toHaveProperty("ok");
      }),
    );
  });
});

describe("units", () => {
  test.each<[string, string, Options, string]>([
    ["the header", "asset,time,a [bar]", {}, "bar"],
    ["an option, which wins", "asset,time,a [bar]", { units: { a: "kPa" } }, "kPa"],
    ["a units row", `asset,time,a\n,,Cel`, { unitsRow: true }, "Cel"],
    ["nothing: a plain number, and a warning", "asset,time,a", {}, "1"],
  ])("from %s", async (_, header, options, unit) => {
    const { snapshot, report } = unwrap(await imported(`${header}\np,${iso(0)},1\np,${iso(1)},2`, options));
    expect(snapshot.channels).toEqual([{ channel: "a", unit }]);
    expect(report.warnings.some((warning) => warning.includes("no unit"))).toBe(unit === "1");
  });
});

describe("times", () => {
  const rows = (...times: string[]) => `asset,time,a\n${times.map((time, i) => `p,${time},${i}`).join("\n")}`;
  test.each<[string, string[], Options, number[]]>([
    ["a zone in each", ["2026-07-01T12:00:00+02:00"], {}, [Date.UTC(2026, 6, 1, 10)]],
    ["an offset for all", ["2026-07-01 12:00:00"], { timeZone: "+05:30" }, [Date.UTC(2026, 6, 1, 6, 30)]],
    [
      "a place's summer and winter",
      ["2026-01-01 12:00", "2026-07-01 12:00"],
      { timeZone: "Europe/Berlin" },
      [Date.UTC(2026, 0, 1, 11), Date.UTC(2026, 6, 1, 10)],
    ],
    ["seconds", ["1767225600.5"], {}, [1_767_225_600_500]],
    ["milliseconds", ["1767225600000"], {}, [1_767_225_600_000]],
    ["steps", ["0", "3"], { timeFormat: "step", stepMs: 1_000, startMs: 5_000 }, [5_000, 8_000]],
    // 2026-10-25 02:30 was shown twice in Berlin; the earlier one is in summer time.
    ["an hour shown twice", ["2026-10-25 02:30"], { timeZone: "Europe/Berlin" }, [Date.UTC(2026, 9, 25, 0, 30)]],
  ])("with %s", async (_, times, options, expected) => {
    const { snapshot, report } = unwrap(await imported(rows(...times), options));
    expect([...snapshot.assets[0]!.timesMs]).toEqual(expected);
    expect(report.ambiguousTimes).toBe(times[0] === "2026-10-25 02:30" ? 1 : 0);
  });
});

describe("failures", () => {
  test("split the rows of an asset into lives; columns beside asset and time are for people", async () => {
    const samples = `asset,time,a\n${[0, 1, 2, 3].map((m) => `p,${iso(m)},${m}`).join("\n")}\nq,${iso(0)},0`;
    const failures = `asset,time,mode\np,${iso(2)},bearing\np,2020-01-01T00:00:00Z,long ago`;
    const { snapshot, report } = unwrap(await imported(samples, {}, failures));
    expect([...snapshot.assets[0]!.failuresMs]).toEqual([Date.parse(iso(2))]);
    expect(report).toMatchObject({ failures: 1, assetsWithoutFailure: 1 });
  });

  test("run to failure: the last row of each asset is its failure", async () => {
    const { snapshot } = unwrap(await imported(`asset,time,a\np,${iso(0)},1\np,${iso(5)},2`, { runToFailure: true }));
    expect([...snapshot.assets[0]!.failuresMs]).toEqual([Date.parse(iso(5))]);
  });
});

test("semicolons with decimal commas, a byte order mark and quoted cells", async () => {
  const text = `\uFEFFmachine;timestamp;"Vibration, RMS [mm/s]"\nm1;${iso(0)};"1,5"\nm1;${iso(1)};2,25\n`;
  const { snapshot } = unwrap(await imported(text));
  expect(snapshot.channels).toEqual([{ channel: "Vibration_RMS", unit: "mm/s" }]);
  expect([...snapshot.assets[0]!.channels[0]!]).toEqual([1.5, 2.25]);
});

test("a file of one asset", async () => {
  const { snapshot } = unwrap(await imported(`timestamp,value\n${iso(0)},1\n${iso(1)},2`, { asset: "furnace" }));
  expect(snapshot.assets.map(({ asset }) => asset)).toEqual(["furnace"]);
});

const good = `p,${iso(0)},1`;
const head = "asset,time,a";
describe("what is refused, with file and line", () => {
  test.each<[string, string | Buffer, Options, string | undefined, string, object]>([
    ["an empty file", "", {}, undefined, "HISTORY_EMPTY", { file: "samples.csv" }],
    ["a header alone", head, {}, undefined, "HISTORY_EMPTY", {}],
    ["gzip", gzipSync("asset,time,a"), {}, undefined, "HISTORY_NOT_TEXT", {}],
    ["a spreadsheet", Buffer.from("PK\u0003\u0004zip"), {}, undefined, "HISTORY_NOT_TEXT", {}],
    ["another encoding", Buffer.from("asset,time,\xb0C\n", "latin1"), {}, undefined, "HISTORY_NOT_TEXT", {}],
    ["no asset column", `when,a\n1,2`, {}, undefined, "HISTORY_COLUMN_MISSING", { column: "asset" }],
    [
      "a misspelt option",
      `${head}\n${good}`,
      { timeColumn: "tme" },
      undefined,
      "HISTORY_COLUMN_MISSING",
      { column: "tme" },
    ],
    ["a unit of no channel", `${head}\n${good}`, { units: { b: "bar" } }, undefined, "HISTORY_COLUMN_MISSING", {}],
    ["one column twice", `${head},a\n${good},2`, {}, undefined, "HISTORY_COLUMN_WRONG", { column: "a" }],
    ["columns that become one", `asset,time,a b,a_b\n${good},2`, {}, undefined, "HISTORY_COLUMN_WRONG", {}],
    ["a wrong unit", `asset,time,a [furlong]\n${good}`, {}, undefined, "HISTORY_UNIT_WRONG", { unit: "furlong" }],
    ["a short line", `${head}\n${good}\np,${iso(1)}`, {}, undefined, "HISTORY_LINE_WRONG", { line: 3 }],
    ["a quote that never ends", `${head}\np,"${iso(1)},1\n`, {}, undefined, "HISTORY_LINE_WRONG", {}],
    ["a bad asset name", `${head}\n../p,${iso(1)},1`, {}, undefined, "HISTORY_LINE_WRONG", { line: 2 }],
    ["a bad target", `${head},y\n${good},soon`, { targetColumn: "y" }, undefined, "HISTORY_LINE_WRONG", { line: 2 }],
    ["no time", `${head}\n${good}\np,yesterday,1`, {}, undefined, "HISTORY_TIME_WRONG", { line: 3, time: "yesterday" }],
    [
      "a day that does not exist",
      `${head}\np,2026-02-30T00:00:00Z,1`,
      {},
      undefined,
      "HISTORY_TIME_WRONG",
      { line: 2 },
    ],
    [
      "a time without zone",
      `${head}\np,2026-02-20 00:00:00,1`,
      {},
      undefined,
      "HISTORY_TIME_ZONE_MISSING",
      { line: 2 },
    ],
    [
      "mixed zones",
      `${head}\n${good}\np,2026-02-20 00:00,1`,
      { timeZone: "UTC" },
      undefined,
      "HISTORY_TIME_MIXED",
      { line: 3 },
    ],
    ["numbers among dates", `${head}\n${good}\np,1767225600,1`, {}, undefined, "HISTORY_TIME_MIXED", { line: 3 }],
    ["an unknown zone", `${head}\n${good}`, { timeZone: "Mars/Base" }, undefined, "HISTORY_TIME_ZONE_UNKNOWN", {}],
    [
      "an hour that summer time skipped",
      `${head}\np,2026-03-29 02:30,1`,
      { timeZone: "Europe/Berlin" },
      undefined,
      "HISTORY_TIME_WRONG",
      { line: 2 },
    ],
    ["text alone", `${head}\np,${iso(0)},x\np,${iso(1)},y`, {}, undefined, "HISTORY_EMPTY", {}],
    [
      "a failure of a stranger",
      `${head}\n${good}`,
      {},
      `asset,time\nz,${iso(0)}`,
      "HISTORY_FAILURE_UNPLACED",
      { file: "failures.csv", line: 2, asset: "z" },
    ],
    ["a wrong line of C-MAPSS", "1 1 2 3\n", { format: "cmapss" }, undefined, "HISTORY_LINE_WRONG", { line: 1 }],
  ])("%s", async (_, samples, options, failures, code, detail) => {
    const read = await imported(samples, options, failures);
    expect(read.ok ? "accepted" : read.error.code).toBe(code);
    if (!read.ok) expect(read.error.detail).toMatchObject(detail);
  });

  test.each<[string, Partial<HistoryLimits>]>([
    ["rows", { rows: 2 }],
    ["assets", { assets: 1 }],
    ["values", { cells: 2 }],
  ])("more %s than may be", async (unit, limit) => {
    const text = `${head}\n${good}\nq,${iso(0)},1\nq,${iso(1)},1`;
    const read = await imported(text, {}, undefined, { rows: 1e6, assets: 1e6, cells: 1e6, ...limit });
    expect(read.ok ? "accepted" : read.error).toMatchObject({ code: "TOO_LARGE", detail: { unit } });
  });

  test("noise of any kind is refused with a code or read, never thrown on", async () => {
    const cell = fc.oneof(fc.string({ maxLength: 12 }), fc.constantFrom("p", iso(0), "1.5", '"', "nan", ""));
    const file = fc.oneof(
      fc.uint8Array({ maxLength: 400 }).map((bytes) => Buffer.from(bytes)),
      fc
        .array(fc.array(cell, { maxLength: 5 }), { maxLength: 6 })
        .map((lines) => Buffer.from([head, ...lines.map((cells) => cells.join(","))].join("\n"))),
    );
    await fc.assert(
      fc.asyncProperty(file, async (bytes) => {
        const read = await imported(bytes);
        if (!read.ok) expect(read.error.code).not.toBe("INTERNAL");
      }),
      { numRuns: 150 },
    );
  });
});
