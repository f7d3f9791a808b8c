import { seededRandom, shuffle } from "@bellwether/protocol/random.ts";
import { unwrap } from "@bellwether/protocol/result.ts";
import fc from "fast-check";
import { expect, test } from "vitest";
import { failuresKnownAt, type Outcome } from "../outcomes/outcomes.ts";
import type { StoredRow } from "../store/ingest.ts";
import { FleetHistory } from "./fleet-history.ts";
import { encodeSnapshot } from "./history/snapshot.ts";

const CUT_OFF = 10_000;
const KNOWN_AT = 500_000;
const fleet = {
  cohort: "B",
  selector: "cohort=B",
  devices: ["gw-1"],
  model: "m",
  channels: [{ channel: "x", unit: "mm/s" }],
  cutOffMs: CUT_OFF,
  knownAtMs: KNOWN_AT,
};
const sources = [{ channel: "x", conversion: { same: true, scale: 1, offset: 0 } }];
const row = (asset: string, atMs: number, x: number, committedAtMs = 1): StoredRow => ({
  device: "gw-1",
  epoch: 1,
  seq: atMs,
  asset,
  observedAtMs: atMs,
  correctedAtMs: atMs,
  committedAtMs,
  hist: false,
  values: { x },
});
const outcome = (id: number, change: Partial<Outcome>): Outcome => ({
  id,
  site: "plant",
  asset: "pump-1",
  kind: "failure",
  atMs: 8_000,
  by: "somebody",
  recordedAtMs: 100,
  retracted: null,
  ...change,
});

function made(rows: readonly StoredRow[], outcomes: readonly Outcome[]) {
  const history = new FleetHistory(fleet);
  for (const one of rows) unwrap(history.add(one, sources));
  return history.finish(failuresKnownAt(outcomes, KNOWN_AT));
}
const bytesOf = (rows: readonly StoredRow[], outcomes: readonly Outcome[]) =>
  Buffer.concat([...encodeSnapshot(unwrap(made(rows, outcomes)).snapshot)]).toString("hex");

const rows = ["pump-1", "pump-2"].flatMap((asset) =>
  Array.from({ length: 40 }, (_, i) => row(asset, 200 * i, i + asset.length)),
);
const outcomes = [
  outcome(1, {}),
  outcome(2, { asset: "pump-2", atMs: 5_000 }),
  outcome(3, { kind: "inspection", atMs: 1 }),
];
const whole = bytesOf(rows, outcomes);

test("the same rows and outcomes give the same bytes, in any order, twice, with later ones among them", () => {
  const late = [row("pump-1", CUT_OFF + 1, 99), row("pump-1", 100, 99, KNOWN_AT + 1), row("pump-3", CUT_OFF + 5, 1)];
  const lateOutcomes = [
    outcome(4, { atMs: CUT_OFF + 1 }),
    outcome(5, { atMs: 3_000, recordedAtMs: KNOWN_AT + 1 }),
    outcome(6, { atMs: 2_000, retracted: { by: "somebody", atMs: KNOWN_AT } }),
    outcome(7, { kind: "false-alarm", atMs: 4_000 }),
  ];
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 1e6 }), fc.subarray(rows), (seed, twice) => {
      const random = seededRandom(seed, 0);
      expect(
        bytesOf(shuffle([...rows, ...twice, ...late], random), shuffle([...outcomes, ...lateOutcomes], random)),
      ).toBe(whole);
    }),
    { numRuns: 50 },
  );
});

test("a failure that is taken back only after the time in question still counted then", () => {
  const taken = [outcome(1, { retracted: { by: "somebody", atMs: KNOWN_AT + 1 } }), ...outcomes.slice(1)];
  expect(bytesOf(rows, taken)).toBe(whole);
});

test("nothing to learn from is refused: no rows, no failures that matured, none of these assets", () => {
  const code = (result: ReturnType<typeof made>) => (result.ok ? undefined : result.error.code);
  expect(code(made([], outcomes))).toBe("SNAPSHOT_NO_ROWS");
  expect(code(made([row("pump-1", CUT_OFF + 1, 1)], outcomes))).toBe("SNAPSHOT_NO_ROWS");
  expect(code(made(rows, []))).toBe("SNAPSHOT_NO_LABELS");
  expect(code(made(rows, [outcome(1, { atMs: CUT_OFF + 1 })]))).toBe("SNAPSHOT_NO_LABELS");
  expect(code(made(rows, [outcome(1, { asset: "elsewhere" })]))).toBe("SNAPSHOT_NO_LABELS");
});
