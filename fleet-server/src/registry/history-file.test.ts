import { unwrap } from "@bellwether/protocol/result.ts";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { historyReader, readHeader } from "./history-file.ts";

describe("a header and the rows below it", () => {
  test("propose asset, time and numeric columns", () => {
    const sample = [
      ["p1", "2026-01-01", "1", "", "ok"],
      ["p1", "2026-01-02", "-2.5e3", "nan", "ok"],
    ];
    expect(readHeader([" Asset ", "Time", "a", "b", "note"], sample)).toEqual({
      columns: ["Asset", "Time", "a", "b", "note"],
      numeric: ["a"],
      assetColumn: "Asset",
      timeColumn: "Time",
    });
  });
  test("a column of units is no channel, one that is sometimes missing is", () => {
    const { numeric } = readHeader(
      ["x", "y"],
      [
        ["1", "2"],
        ["", "mm"],
      ],
    );
    expect(numeric).toEqual(["x"]);
  });
});

describe("rows", () => {
  const header = ["unit", "t", "x"];
  const columns = { asset: "unit", time: "t", channels: [{ channel: "vib", column: "x" }] };
  const read = (cells: string[]) => unwrap(historyReader("h.csv", header, columns)).read(cells);

  test.each([
    ["2026-01-01T00:00:00Z", Date.UTC(2026, 0, 1)],
    ["2026-01-01T01:00:00+01:00", Date.UTC(2026, 0, 1)],
    ["2026-01-01 00:00", Date.UTC(2026, 0, 1)],
    ["1767225600", Date.UTC(2026, 0, 1)],
    ["1767225600000", Date.UTC(2026, 0, 1)],
    ["17", 17_000],
    ["-1", undefined],
    ["soon", undefined],
  ])("the time %s", (time, expected) => {
    expect(read(["1", time, "5"])?.observedAtMs).toBe(expected);
  });

  test("values, missing values and nonsense", () => {
    const reader = unwrap(historyReader("h.csv", header, columns));
    expect(reader.read(["1", "0", "+.5"])).toEqual({ asset: "1", observedAtMs: 0, values: { vib: 0.5 } });
    expect(reader.read(["1", "1", "N/A"])?.values).toEqual({ vib: null });
    expect(reader.read(["1", "2", "0x10"])?.values).toEqual({ vib: null });
    expect(reader.read(["a b", "3", "1"])).toBeUndefined();
    expect(reader.read(["1"])).toBeUndefined();
    expect(reader.counts).toEqual({ rows: 5, unusable: 2, unreadable: 1 });
  });

  test("without a time column rows are a second apart, without an asset column of one asset", () => {
    const reader = unwrap(historyReader("h.csv", header, { channels: columns.channels }));
    expect([reader.read(["", "", "1"]), reader.read(["", "", "2"])]).toEqual([
      { asset: "asset", observedAtMs: 1_000, values: { vib: 1 } },
      { asset: "asset", observedAtMs: 2_000, values: { vib: 2 } },
    ]);
  });

  test("a column that is not there is named, with what may be meant", () => {
    const missing = historyReader("h.csv", header, { ...columns, asset: "units" });
    expect(missing).toMatchObject({
      error: { code: "HISTORY_UNUSABLE", detail: { reason: expect.stringContaining('"unit"') } },
    });
  });

  test("any cells give a row of finite numbers, or none", () => {
    fc.assert(
      fc.property(fc.array(fc.oneof(fc.string(), fc.double().map(String)), { maxLength: 5 }), (cells) => {
        const row = read(cells);
        if (row === undefined) return;
        expect(Number.isSafeInteger(row.observedAtMs)).toBe(true);
        expect(row.values["vib"] === null || Number.isFinite(row.values["vib"])).toBe(true);
      }),
    );
  });
});
