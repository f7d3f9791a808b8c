import { expect, test } from "vitest";
import { CMAPSS_CHANNELS, parseCmapssLine } from "./cmapss.ts";
import { roundToResolution } from "./resolution.ts";

const line =
  "1 1 -0.0007 -0.0004 100.0 518.67 641.82 1589.70 1400.60 14.62 21.61 554.36 2388.06 9046.19 1.30 47.47 521.66 2388.02 8138.62 8.4195 0.03 392 2388 100.00 39.06 23.4190  ";

test("reads a line of the published files", () => {
  const row = parseCmapssLine(line);
  if (typeof row === "string") throw new Error(row);
  expect([row.unit, row.cycle, row.values.length]).toEqual([1, 1, CMAPSS_CHANNELS.length]);
  expect(row.values[CMAPSS_CHANNELS.findIndex(({ channel }) => channel === "s15")]).toBe(8.4195);
});

test("a channel's resolution keeps what the files say, all of it and no more", () => {
  const texts = line.trim().split(/\s+/).slice(2);
  for (const [i, { channel, resolution }] of CMAPSS_CHANNELS.entries()) {
    const decimals = texts[i]!.split(".")[1]?.length ?? 0;
    expect([channel, resolution]).toEqual([channel, Number(`1e-${decimals}`)]);
    expect(roundToResolution(Number(texts[i]), resolution)).toBe(Number(texts[i]));
  }
});

test.each([
  ["", "1 columns instead of 26"],
  [line.replace("641.82", "NaN"), 'column 7 is "NaN", not a number'],
  [line.replace("641.82", "0x10"), 'column 7 is "0x10", not a number'],
  [line.replace("1 1", "0 1"), "unit 0 is not a positive integer"],
  [line.replace("1 1", "1 1.5"), "cycle 1.5 is not a positive integer"],
])("says what is wrong with %j", (text, expected) => {
  expect(parseCmapssLine(text)).toBe(expected);
});
