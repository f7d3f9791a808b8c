import { expect, test } from "vitest";
import { pumpReference } from "../../../test/kit/drift.ts";
import { seededRandom } from "../random.ts";
import { channelReferences, QualityMonitor } from "./quality.ts";

const reference = pumpReference();
const NOW = 1_700_000_000_000;

/** One window of 40 good rows, changed by `change`; gives what was found, as "channel kind". */
function window(
  change: (row: { atMs: number; heat: number; vibration: number }, i: number) => void,
  monitor = new QualityMonitor(reference),
) {
  const random = seededRandom(1, 1);
  for (let i = 0; i < 40; i += 1) {
    const row = { atMs: NOW + i * reference.rowMs, heat: 60 + random.next(), vibration: 4 + random.next() };
    change(row, i);
    monitor.add(row.atMs, NOW + 40 * reference.rowMs, [row.heat, row.vibration]);
  }
  const findings = monitor.close();
  return { findings, names: findings.map(({ channel, kind }) => `${channel} ${kind}`) };
}

test("good data are found good", () => {
  expect(window(() => {}).names).toEqual([]);
});

test.each<[string, Parameters<typeof window>[0]]>([
  ["heat missing", (row, i) => i % 3 === 0 && Object.assign(row, { heat: Number.NaN })],
  ["heat range", (row, i) => i > 20 && Object.assign(row, { heat: -300 })],
  ["heat stuck", (row) => Object.assign(row, { heat: 61.5 })],
  ["heat unit", (row) => Object.assign(row, { heat: (row.heat * 9) / 5 + 32 })],
  ["vibration unit", (row) => Object.assign(row, { vibration: row.vibration * 1_000 })],
  ["heat gap", (row, i) => i >= 20 && Object.assign(row, { atMs: row.atMs + 60 * reference.rowMs })],
  ["heat clock", (row) => Object.assign(row, { atMs: row.atMs + 86_400_000 })],
])("%s", (name, change) => {
  expect(window((row, i) => void change(row, i)).names).toContain(name);
});

test("what was usual in the reference is no finding: a tenth of vibration missing", () => {
  expect(window((row, i) => void (i % 10 === 0 && Object.assign(row, { vibration: Number.NaN }))).names).toEqual([]);
});

test("a window is found good again after a bad one, and a run of one value goes on over windows", () => {
  const monitor = new QualityMonitor(reference);
  const bad = window((row) => void Object.assign(row, { heat: Number.NaN }), monitor);
  expect(bad.findings[0]!.text).toContain("40 of 40");
  expect(window(() => {}, monitor).names).not.toContain("heat missing");
});

test("what is usual is read from the reference's own rows", () => {
  const columns = [Float64Array.of(1, 1, 1, 2, Number.NaN, 5)];
  expect(channelReferences([{ channel: "a", unit: "Cel" }], [{ columns }])).toEqual([
    { channel: "a", unit: "Cel", min: 1, max: 5, missing: 1 / 6, stuckRows: 3 },
  ]);
  expect(channelReferences([{ channel: "a", unit: "Cel" }], [{ columns: [[Number.NaN]] }])).toEqual([]);
});
