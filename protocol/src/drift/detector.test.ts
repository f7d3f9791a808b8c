import { expect, test } from "vitest";
import { PUMP_NAMES, pumpLife, pumpReference } from "../../../test/kit/drift.ts";
import { seededRandom } from "../random.ts";
import { alarmLimit } from "./charts.ts";
import { AssetDetector } from "./detector.ts";
import { WindowFold } from "./fold.ts";

const reference = pumpReference();
const limit = alarmLimit(reference, 1);
const WINDOW = reference.windowVectors;

/** Runs a life through a detector and gives its steps. */
function follow(detector: AssetDetector, life: ReturnType<typeof pumpLife>) {
  const fold = new WindowFold(reference, PUMP_NAMES);
  const steps = [];
  for (const [i, vector] of life.vectors.entries()) {
    fold.add(vector, life.scores[i]!);
    if (fold.vectors === WINDOW) steps.push(detector.step(fold.close(), (i + 1 - WINDOW) * reference.rowMs));
  }
  return steps;
}

test("a pump that wears out as pumps do never drifts, whatever its own offset", () => {
  for (let seed = 1; seed <= 20; seed += 1) {
    const life = pumpLife(seededRandom(seed, 7), 400, { offset: 0.3 * (seed % 3) });
    const steps = follow(new AssetDetector(reference, limit), life);
    expect(steps[0]!.phase).toBe("warming");
    expect(steps.filter(({ phase }) => phase === "drifted")).toEqual([]);
  }
});

test("a pump that has always been hotter than the reference's is not called for it; what comes on top is called", () => {
  for (let seed = 1; seed <= 20; seed += 1) {
    const isCalled = (change: number) => {
      const life = pumpLife(seededRandom(seed, 7), 400, { offset: 3, change, changeAt: 200 });
      return follow(new AssetDetector(reference, limit), life).some(({ phase }) => phase === "drifted");
    };
    expect([isCalled(0), isCalled(5)]).toEqual([false, true]);
  }
});

test("a pump whose heat rises beside its wear drifts, and the verdict names the feature, the side and since when", () => {
  for (let seed = 1; seed <= 20; seed += 1) {
    const changeAt = 10 * WINDOW;
    const steps = follow(
      new AssetDetector(reference, limit),
      pumpLife(seededRandom(seed, 8), 400, { change: 5, changeAt }),
    );
    const drifted = steps.findIndex(({ phase }) => phase === "drifted");
    expect(drifted).toBeGreaterThanOrEqual(10);
    expect(drifted).toBeLessThanOrEqual(16);
    const verdict = steps[drifted]!.verdicts.find(({ kind }) => kind === "mean")!;
    expect(verdict).toMatchObject({ feature: "heat", direction: "up", limit });
    expect(verdict.shift).toBeGreaterThan(0.5);
    expect(Math.abs(verdict.sinceMs - changeAt * reference.rowMs)).toBeLessThanOrEqual(3 * WINDOW * reference.rowMs);
  }
});

test("a detector saved and restored in the middle goes on as one that never stopped", () => {
  const life = pumpLife(seededRandom(5, 9), 400, { change: 3, changeAt: 200 });
  const whole = follow(new AssetDetector(reference, limit), life);
  const first = new AssetDetector(reference, limit);
  const cut = 11 * WINDOW;
  const before = follow(first, { vectors: life.vectors.slice(0, cut), scores: Array.from(life.scores).slice(0, cut) });
  const second = new AssetDetector(reference, limit);
  expect(second.restore(JSON.parse(JSON.stringify(first.snapshot()))).ok).toBe(true);
  const fold = new WindowFold(reference, PUMP_NAMES);
  const after = [];
  for (let i = cut; i < life.vectors.length; i += 1) {
    fold.add(life.vectors[i]!, life.scores[i]!);
    if (fold.vectors === WINDOW) after.push(second.step(fold.close(), (i + 1 - WINDOW) * reference.rowMs));
  }
  expect([...before, ...after]).toEqual(whole);
});

test("a snapshot of another reference, or of nothing, is refused and changes nothing", () => {
  const detector = new AssetDetector(reference, limit);
  const steps = follow(detector, pumpLife(seededRandom(2, 9), 200));
  expect(steps.length).toBe(10);
  const before = detector.snapshot();
  for (const wrong of [{}, null, { ...before, up: [1] }, { ...before, phase: "asleep" }, { ...before, runs: [] }]) {
    expect(detector.restore(wrong)).toMatchObject({ ok: false, error: { code: "FEATURE_STATE_WRONG" } });
  }
  expect(detector.snapshot()).toEqual(before);
});

test("an asset that begins anew makes a new baseline, and is not judged against the old one", () => {
  const detector = new AssetDetector(reference, limit);
  follow(detector, pumpLife(seededRandom(4, 9), 400));
  const own = detector.own(1);
  expect(own).not.toBeNaN();
  detector.restart();
  expect(detector.own(1)).toBeNaN();
  const steps = follow(detector, pumpLife(seededRandom(6, 9), 400, { offset: 0.6 }));
  expect(steps.filter(({ phase }) => phase === "drifted")).toEqual([]);
  expect(detector.own(1)).not.toBe(own);
});

test("missing values and a missing score move nothing", () => {
  const detector = new AssetDetector(reference, limit);
  const life = pumpLife(seededRandom(4, 9), 400);
  follow(detector, { vectors: life.vectors.slice(0, 200), scores: life.scores });
  const { up, down } = detector.snapshot();
  const fold = new WindowFold(reference, PUMP_NAMES);
  const steps = Array.from({ length: 50 }, () => {
    for (let i = 0; i < WINDOW; i += 1) fold.add(new Float64Array(4).fill(Number.NaN), Number.NaN);
    return detector.step(fold.close(), 0);
  });
  expect(steps.at(-1)!.phase).not.toBe("drifted");
  expect(detector.snapshot()).toMatchObject({ up, down });
});
