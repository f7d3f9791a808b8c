import { seededRandom } from "@bellwether/protocol/random.ts";
import { unwrap } from "@bellwether/protocol/result.ts";
import { expect, test } from "vitest";
import { pumpLife, pumpRecords, pumpReference } from "../../../test/kit/drift.ts";
import { COHORT_RULES, judgeCohorts } from "./cohort.ts";
import { type CohortVerdict, nextVerdict } from "./verdict.ts";
import { type JudgedWindow, judgedWindow, NewestWindows } from "./windows.ts";

const reference = pumpReference();
const WINDOW = reference.windowVectors;
const CHANGE_AT = 7 * WINDOW;

interface Plant {
  readonly seed: number;
  /** All pumps are so much hotter than those of the reference, from their first row on. */
  readonly offset?: number;
  /** Of this device's pumps, the heat rises by so much from window 7 on. */
  readonly change?: (device: number) => number;
  readonly spoil?: (row: Float64Array, i: number) => void;
  readonly devices?: number;
}

/** Windows of devices with two pumps each, in the order of time. */
function windowsOf({ seed, offset = 0, change = () => 0, spoil, devices = 3 }: Plant): JudgedWindow[] {
  const all = Array.from({ length: devices * 2 }, (_, i) => {
    const device = i >> 1;
    const life = pumpLife(seededRandom(seed, i), 400, {
      offset: offset + 0.3 * (i % 3),
      change: change(device),
      changeAt: CHANGE_AT,
    });
    return pumpRecords(`pump-${i + 1}`, life, { reference, ...(spoil ? { spoil } : {}) }).map((record) =>
      unwrap(judgedWindow({ device: `gw-${device + 1}`, site: "plant", record }, reference)),
    );
  });
  return all.flat().toSorted((a, b) => a.fromMs - b.fromMs);
}

/** Every verdict on the way, one per round of windows. */
function verdictsOf(plant: Plant): CohortVerdict[] {
  const newest = new NewestWindows(COHORT_RULES.windowsKept);
  const verdicts: CohortVerdict[] = [];
  for (const [, round] of Map.groupBy(windowsOf(plant), ({ fromMs }) => fromMs)) {
    for (const window of round) newest.add(window);
    const devices = new Set(round.map(({ device }) => device));
    const assets = newest.of(round[0]!.reference, devices);
    const [evidence] = judgeCohorts([assets], reference);
    verdicts.push(
      nextVerdict(verdicts.at(-1), {
        cohort: "B",
        model: "pump-rul",
        reference: round[0]!.reference,
        evidence: evidence!,
        assets,
        channelOf: (feature) => feature,
        devicesMin: COHORT_RULES.devicesMin,
        windowMs: WINDOW * reference.rowMs,
        nowMs: 5,
      }),
    );
  }
  return verdicts;
}

test("pumps that only wear out are called stable, once they have windows enough", () => {
  for (let seed = 1; seed <= 20; seed += 1) {
    const phases = verdictsOf({ seed }).map(({ phase }) => phase);
    expect(phases[0]).toBe("waiting");
    expect(phases.at(-1)).toBe("stable");
    expect(phases).not.toContain("drifted");
  }
});

test("a change on every device is called, with the feature, the side, how many, since when, and that it is not wear", () => {
  for (let seed = 1; seed <= 20; seed += 1) {
    const verdicts = verdictsOf({ seed, change: () => 4 });
    const called = verdicts.find(({ phase }) => phase === "drifted")!;
    expect(called.text).toMatch(
      /^heat up \d\.\d sigma on 3 of 3 devices \(6 assets\) of cohort B since 2026-01-01 00:0\d UTC.*; not wear/,
    );
    expect(called.features[0]).toMatchObject({ feature: "heat", stands: true });
    expect(Math.abs(called.sinceMs! - Date.UTC(2026, 0, 1) - CHANGE_AT * reference.rowMs)).toBeLessThan(
      4 * WINDOW * reference.rowMs,
    );
    expect(verdicts.indexOf(called)).toBeGreaterThanOrEqual(7);
    expect(verdicts.at(-1)!.phase).toBe("drifted");
  }
});

test("machines that always stood apart from the reference's are stable, and are called when they move towards those", () => {
  for (let seed = 1; seed <= 20; seed += 1) {
    expect(verdictsOf({ seed, offset: -4 }).at(-1)!.phase).toBe("stable");
    const moved = verdictsOf({ seed, offset: -4, change: () => 4 }).at(-1)!;
    expect(moved.phase).toBe("drifted");
    expect(moved.text).toMatch(/^heat up /);
  }
});

test("one device's sensor is told from a changed process", () => {
  for (let seed = 1; seed <= 20; seed += 1) {
    const verdicts = verdictsOf({ seed, change: (device) => (device === 1 ? 6 : 0) });
    const phases = verdicts.map(({ phase }) => phase);
    expect(phases).not.toContain("drifted");
    const single = verdicts.find(({ phase }) => phase === "single")!;
    expect(single.text).toMatch(/^heat up .* of gw-2 alone .*; 2 other devices stand: look at its sensors first$/);
  }
});

test("data that are wrong themselves are named, and are no change of the process", () => {
  const verdicts = verdictsOf({
    seed: 1,
    change: () => 4,
    spoil: (row, i) => i >= CHANGE_AT && i % 2 === 0 && row.fill(Number.NaN),
  });
  expect(verdicts.map(({ phase }) => phase)).not.toContain("drifted");
  expect(verdicts.at(-1)).toMatchObject({ phase: "quality", text: expect.stringContaining("values are missing") });
  expect(verdicts.at(-1)!.quality[0]).toMatchObject({ device: "gw-1", kind: "missing" });
});

test("one device is no cohort: it waits and says for what", () => {
  const last = verdictsOf({ seed: 1, devices: 1, change: () => 4 }).at(-1)!;
  expect(last).toMatchObject({ phase: "waiting" });
  expect(last.text).toContain("2 are needed");
});

test("a cohort with devices enough that still waits says for what: another window like the first", () => {
  const verdicts = verdictsOf({ seed: 2, change: () => 8 });
  const first = verdicts.find(({ phase, found }) => phase === "waiting" && found === "drifted");
  expect(first?.text).toBe(
    "3 devices of cohort B have enough windows; a first look says drifted, and one more decides",
  );
});

test("looking again at the same windows changes nothing; windows in any order, twice, give the same newest ones", () => {
  const windows = windowsOf({ seed: 3 });
  const [first, second] = [new NewestWindows(8), new NewestWindows(8)];
  for (const window of windows) first.add(window);
  for (const window of [...windows].reverse()) for (const again of [window, { ...window }]) second.add(again);
  const devices = new Set(["gw-1", "gw-2", "gw-3"]);
  const sorted = (newest: NewestWindows) =>
    newest.of(windows[0]!.reference, devices).toSorted((a, b) => a[0]!.asset.localeCompare(b[0]!.asset));
  expect(sorted(second)).toEqual(sorted(first));
  expect(sorted(first).every((own) => own.length === 8)).toBe(true);
});

test("a version with another reference begins anew; what is late of the one before it is left out", () => {
  const windows = windowsOf({ seed: 4, devices: 1 }).filter(({ asset }) => asset === "pump-1");
  const newest = new NewestWindows(8);
  const other = { ...windows[10]!, reference: `sha256:${"b".repeat(64)}` };
  for (const window of windows.slice(0, 10)) newest.add(window);
  newest.add(other);
  newest.add(windows[9]!);
  expect([...newest.references()]).toEqual([other.reference]);
  expect(newest.of(other.reference, new Set(["gw-1"]))).toEqual([[other]]);
});
