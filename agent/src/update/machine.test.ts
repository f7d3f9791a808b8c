import { problem } from "@bellwether/protocol/errors.ts";
import { UPDATE_PHASES } from "@bellwether/protocol/messages/device.ts";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  idleModel,
  type LiveFigures,
  type ModelState,
  runningAtStart,
  runningOf,
  step,
  type Target,
  type UpdateEvent,
} from "./machine.ts";

const digest = (letter: string) => `sha256:${letter.repeat(64)}`;
const [OLD, NEW, NEWER] = [digest("0"), digest("1"), digest("2")];

function target(manifestDigest: string, assignedIn = 1, confirm: Partial<Target["confirm"]> = {}): Target {
  return {
    model: "m",
    version: Number(manifestDigest[7]) + 1,
    manifestDigest,
    manifestLength: 10,
    releaseCounter: 1,
    directorVersion: assignedIn,
    assignedIn,
    confirm: { inferences: 10, soakMs: 100, deadlineMs: 1_000, errorFraction: 0.1, ...confirm },
  };
}

const live = (figures: Partial<LiveFigures>, limitP99Us = 1_000): UpdateEvent => ({
  kind: "live",
  figures: { digest: NEW, inferences: 10, errors: 0, medianLatencyUs: 400, p99LatencyUs: 500, ...figures },
  limitP99Us,
});
const desired = (wanted: Target): UpdateEvent => ({ kind: "desired", target: wanted });
const shadowed = (figures: object, limitP99Us = 1_000): UpdateEvent => {
  const latency = { medianLatencyUs: 400, p99LatencyUs: 500 };
  const all = { digest: NEW, inferences: 5, errors: 0, ...latency, compared: 5, meanDifference: 0.5, ...figures };
  return { kind: "shadow", figures: all, limitP99Us };
};
/** Every run over the limit, and the slowest runs alone. */
const slow = { medianLatencyUs: 1_001, p99LatencyUs: 1_100 };
const slowTail = { p99LatencyUs: 1_001 };
const done = (
  kind: "downloaded" | "verified" | "selfTested" | "shadowStarted" | "activated",
  digest = NEW,
): UpdateEvent => (kind === "selfTested" ? { kind, digest, findings: { goldenMaxError: 0.25 } } : { kind, digest });
const failed = (code: "DIGEST_MISMATCH", more = {}): UpdateEvent => ({
  kind: "stepFailed",
  digest: NEW,
  problem: problem(code),
  ...more,
});

const serving: ModelState = { ...idleModel("m"), active: { version: 1, digest: OLD } };

/** Feeds events, 10 ms apart unless an event says how much later it comes. */
function run(events: (UpdateEvent | [laterMs: number, UpdateEvent])[], from: ModelState = serving) {
  let state = from;
  let nowMs = 0;
  const effects: string[] = [];
  for (const entry of events) {
    const [laterMs, event] = Array.isArray(entry) ? entry : [10, entry];
    nowMs += laterMs;
    const next = step(state, event, nowMs);
    state = next.state;
    effects.push(...next.effects.map((effect) => effect.kind));
  }
  return { state, effects };
}

const activated = [desired(target(NEW)), done("downloaded"), done("verified"), done("selfTested"), done("activated")];

describe("an update", () => {
  it("goes all the way: download, verify, self-test, activate, confirm", () => {
    const { state, effects } = run([...activated, live({}), [200, live({ firstAtMs: 55, lastAtMs: 255 })]]);
    expect(effects).toEqual(["download", "verify", "selfTest", "serve", "serve", "cleanUp"]);
    expect(state).toMatchObject({
      phase: "idle",
      outcome: "succeeded",
      active: { digest: NEW },
      previous: { digest: OLD },
    });
    expect(state.evidence).toEqual({
      goldenMatched: true,
      goldenMaxError: 0.25,
      inferences: 10,
      errors: 0,
      p99LatencyUs: 500,
      firstInferenceAtMs: 55,
      lastInferenceAtMs: 255,
      soakStartedAtMs: 50,
      soakEndedAtMs: 260,
      soakedMs: 210,
    });
  });

  it.each<[string, (UpdateEvent | [number, UpdateEvent])[], string, string]>([
    ["the download is not what was signed", [desired(target(NEW)), failed("DIGEST_MISMATCH")], "failed", OLD],
    [
      "the package does not fit the device",
      [desired(target(NEW)), failed("DIGEST_MISMATCH", { rejected: true })],
      "rejected",
      OLD,
    ],
    [
      "the self-test fails",
      [desired(target(NEW)), done("downloaded"), done("verified"), failed("DIGEST_MISMATCH")],
      "failed",
      OLD,
    ],
    ["activation fails", [...activated.slice(0, 4), failed("DIGEST_MISMATCH")], "failed", OLD],
    [
      "live inferences fail",
      [...activated, live({ inferences: 8, errors: 2 }), { kind: "rolledBack" }],
      "rolledBack",
      OLD,
    ],
    [
      "errors alone exceed the share before all inferences are there",
      [...activated, live({ inferences: 0, errors: 2 }), { kind: "rolledBack" }],
      "rolledBack",
      OLD,
    ],
    ["it is too slow", [...activated, live(slow), { kind: "rolledBack" }], "rolledBack", OLD],
    [
      "its tail is too slow to the end",
      [...activated, live(slowTail), [2_000, live(slowTail)], { kind: "rolledBack" }],
      "rolledBack",
      OLD,
    ],
    ["no input comes", [...activated, [2_000, live({ inferences: 0 })], { kind: "rolledBack" }], "rolledBack", OLD],
    [
      "too little input comes",
      [...activated, [2_000, live({ inferences: 9 })], { kind: "rolledBack" }],
      "rolledBack",
      OLD,
    ],
  ])("keeps or restores the verified model when %s", (_, events, outcome, active) => {
    const { state } = run(events);
    expect([state.phase, state.outcome, state.active?.digest]).toEqual(["failed", outcome, active]);
    expect(state.error).toBeDefined();
  });

  it("gives a device that was busy for a moment time to show that the model was not the slow one", () => {
    const busy = run([...activated, [500, live(slowTail)]]).state;
    expect(busy).toMatchObject({ phase: "confirming", quarantined: {} });
    expect(run([[600, live({ inferences: 200 })]], busy).state).toMatchObject({ phase: "idle", outcome: "succeeded" });
    expect(run([[2_000, live(slowTail)]], busy).state.error?.code).toBe("LATENCY_EXCEEDED");
    expect(run([[510, live(slow)]], busy).state.error?.code).toBe("LATENCY_EXCEEDED");
  });

  it("counts the time that passed, whatever becomes of the wall clock meanwhile", () => {
    const [year, jumped] = [31_536_000_000, (byMs: number): UpdateEvent => ({ kind: "clockJumped", byMs })];
    const ahead = run([...activated, [year + 10, jumped(year)], live({})]).state;
    expect(ahead).toMatchObject({ phase: "confirming", evidence: { soakedMs: 20 } });
    expect(
      run(
        [
          [-year, jumped(-year)],
          [80, live({})],
        ],
        ahead,
      ).state,
    ).toMatchObject({ phase: "confirming" });
    const back = run([...activated, [10 - year, jumped(-year)], [90, live({})]]).state;
    expect(back).toMatchObject({ phase: "idle", outcome: "succeeded", evidence: { soakedMs: 100 } });
  });

  it("says why: no input is its own code", () => {
    expect(run([...activated, [2_000, live({ inferences: 0 })]]).state.error?.code).toBe("NO_LIVE_INFERENCES");
    expect(run([...activated, [2_000, live({ inferences: 9 })]]).state.error?.code).toBe("CONFIRM_DEADLINE");
  });

  it("never succeeds without every proof", () => {
    const figures = fc.record({
      inferences: fc.nat(30),
      errors: fc.nat(5),
      p99LatencyUs: fc.nat(2_000),
      laterMs: fc.nat(500),
      digest: fc.constantFrom(NEW, OLD),
    });
    fc.assert(
      fc.property(fc.array(figures, { maxLength: 10 }), (reports) => {
        let state = run(activated).state;
        let nowMs = 50;
        for (const { laterMs, ...report } of reports) {
          nowMs += laterMs;
          const before = state.outcome;
          state = step(state, live(report), nowMs).state;
          if (state.outcome === "succeeded" && before !== "succeeded") {
            expect(report.digest).toBe(NEW);
            expect(report.inferences).toBeGreaterThanOrEqual(10);
            expect(report.errors / (report.inferences + report.errors)).toBeLessThanOrEqual(0.1);
            expect(report.p99LatencyUs).toBeLessThanOrEqual(1_000);
            expect(nowMs - 50).toBeGreaterThanOrEqual(100);
          }
        }
      }),
    );
  });

  it("never gives up what failed for want of the network or of room, but asks more rarely", () => {
    let state = run([desired(target(NEW))]).state;
    const delays = Array.from({ length: 400 }, () => {
      const next = step(state, failed("DIGEST_MISMATCH", { again: true }), 0);
      state = next.state;
      return next.effects.map((effect) => (effect.kind === "download" ? effect.delayMs : undefined));
    });
    expect(delays.slice(0, 4)).toEqual([[1_000], [2_000], [4_000], [8_000]]);
    expect(delays.at(-1)).toEqual([300_000]);
    expect(state).toMatchObject({ phase: "downloading", quarantined: {}, error: { code: "DIGEST_MISMATCH" } });
  });

  it.each(["SLOT_UNREADABLE", "SLOT_CHANGED"] as const)("takes %s for the disk's fault and not the model's", (code) => {
    const spoilt: UpdateEvent = { kind: "stepFailed", digest: NEW, problem: problem(code) };
    for (const steps of [1, 2, 3, 4]) {
      const { state, effects } = run([...activated.slice(0, steps), spoilt]);
      expect(state).toMatchObject({ phase: "downloading", quarantined: {}, active: { digest: OLD } });
      expect(effects.at(-1)).toBe("download");
    }
  });

  it("asks again at once where a try brought the download further, however little", () => {
    const cut = (reached: number) => failed("DIGEST_MISMATCH", { again: true, reached });
    const further = Array.from({ length: 40 }, (_, i) => cut((i + 1) / 1_000));
    expect(run([desired(target(NEW)), ...further]).state).toMatchObject({ attempts: 1, progress: 0.04 });
    const stuck = Array.from({ length: 8 }, () => cut(0.1));
    expect(run([desired(target(NEW)), ...stuck]).state).toMatchObject({ attempts: 8, progress: 0.1 });
  });

  it("quarantines what failed: the same wish does nothing, a newer one tries again", () => {
    const { state } = run([desired(target(NEW, 5)), failed("DIGEST_MISMATCH")]);
    const renewed = { ...target(NEW, 5), directorVersion: 9 };
    expect(run([desired(renewed)], state)).toMatchObject({ effects: [], state: { phase: "failed" } });
    expect(run([desired(target(NEW, 10))], state)).toMatchObject({
      effects: ["download"],
      state: { phase: "downloading" },
    });
  });

  it("jumps to the newest wish, and lets go of the older one's results", () => {
    const { state, effects } = run([desired(target(NEW)), desired(target(NEWER, 2)), done("downloaded", NEW)]);
    expect(state).toMatchObject({ phase: "downloading", target: { manifestDigest: NEWER } });
    expect(effects).toEqual(["download", "download"]);
  });

  it("goes back before it takes up another wish while confirming; a revert ends on the old model at once", () => {
    const { state, effects } = run([...activated, desired(target(OLD, 2)), { kind: "rolledBack" }]);
    expect(state).toMatchObject({ phase: "idle", outcome: "succeeded", active: { digest: OLD } });
    expect(effects.slice(-2)).toEqual(["serve", "cleanUp"]);
    expect(state.quarantined[NEW]).toBeUndefined();
  });

  it("needs no second proof for a digest that proved itself here", () => {
    const { state } = run([
      ...activated,
      [200, live({})],
      desired(target(OLD, 2)),
      done("downloaded", OLD),
      done("verified", OLD),
      done("selfTested", OLD),
      done("activated", OLD),
      [200, live({ digest: OLD })],
      desired(target(OLD, 3)),
    ]);
    expect(state).toMatchObject({ outcome: "succeeded", target: { directorVersion: 3 }, evidence: { inferences: 10 } });
  });

  it("falls back when the confirmed model breaks, and goes on with an update under way", () => {
    const confirmed = run([...activated, [200, live({})]]).state;
    const broken: UpdateEvent = { kind: "activeBroken", digest: NEW, problem: problem("INFERENCE_HUNG") };
    const { state } = run([desired(target(NEWER, 2)), broken, { kind: "rolledBack" }], confirmed);
    expect(state).toMatchObject({ active: { digest: OLD }, phase: "downloading", target: { manifestDigest: NEWER } });
    expect(state.quarantined[NEW]).toBeDefined();
  });

  it.each([
    ["while it is confirmed", [200, live({})] as [number, UpdateEvent]],
    ["while it is on trial", live({ inferences: 1 })],
  ])("fetches a model anew that the disk has spoilt %s; it has done no wrong", (_, then) => {
    const before = run([...activated, then]).state;
    const rotten: UpdateEvent = { kind: "activeBroken", digest: NEW, problem: problem("SLOT_CHANGED") };
    const { state, effects } = run([rotten, { kind: "rolledBack" }], before);
    expect(state).toMatchObject({ active: { digest: OLD }, phase: "downloading", target: { manifestDigest: NEW } });
    expect(state.quarantined).toEqual({});
    expect(effects).toEqual(["serve", "download", "cleanUp"]);
  });

  it("gives up confirming when the agent keeps dying with the new model", () => {
    const resumed: UpdateEvent = { kind: "resumed" };
    expect(run([...activated, resumed, resumed, resumed]).state.phase).toBe("confirming");
    expect(run([...activated, resumed, resumed, resumed, resumed]).state).toMatchObject({
      phase: "rollingBack",
      error: { code: "CONFIRM_INTERRUPTED" },
    });
  });
});

describe("a shadow", () => {
  const wish = target(NEW, 1, { shadow: { inferences: 5, durationMs: 100 } });
  const begun = [desired(wish), done("downloaded"), done("verified"), done("selfTested"), done("shadowStarted")];
  const beside = { slot: serving.active, shadow: { digest: NEW } };

  it("runs beside what serves until it has its inferences and its time; only then it may serve", () => {
    const { state } = run(begun);
    expect(runningOf(state)).toMatchObject(beside);
    expect(runningAtStart(state)).toEqual({ slot: serving.active });
    expect(run([shadowed({})], state).state.phase).toBe("shadowing");
    expect(run([[200, shadowed({ inferences: 4 })]], state).state.phase).toBe("shadowing");
    expect(run([[200, shadowed(slowTail)]], state).state.phase).toBe("shadowing");
    const { state: passed, effects } = run([[200, shadowed({})]], state);
    expect([passed.phase, ...effects]).toEqual(["activating", "serve"]);
    expect(passed.shadow).toMatchObject({ inferences: 5, meanDifference: 0.5, startedAtMs: 50, endedAtMs: 200 });
    expect(run([done("activated"), [200, live({})]], passed).state).toMatchObject({
      outcome: "succeeded",
      active: { digest: NEW },
      shadow: { inferences: 5 },
    });
  });

  it.each<[string, (UpdateEvent | [number, UpdateEvent])[], string]>([
    ["its vectors fail", [shadowed({ inferences: 4, errors: 1 })], "SHADOW_ERRORS"],
    ["all fail before there are enough", [shadowed({ inferences: 0, errors: 1 })], "SHADOW_ERRORS"],
    ["it is too slow", [shadowed(slow)], "SHADOW_TOO_SLOW"],
    ["its tail is too slow to the end", [shadowed(slowTail), [1_200, shadowed(slowTail)]], "SHADOW_TOO_SLOW"],
    ["no input comes", [[1_200, shadowed({ inferences: 0 })]], "NO_LIVE_INFERENCES"],
    ["too little input comes", [[1_200, shadowed({ inferences: 4 })]], "SHADOW_DEADLINE"],
    ["it cannot be opened", [failed("DIGEST_MISMATCH")], "DIGEST_MISMATCH"],
    ["it hangs", [{ kind: "activeBroken", digest: NEW, problem: problem("INFERENCE_HUNG") }], "INFERENCE_HUNG"],
    ["the agent keeps dying", Array.from({ length: 4 }, () => ({ kind: "resumed" as const })), "SHADOW_INTERRUPTED"],
  ])("is given up and quarantined when %s, and what served serves on", (_, events, code) => {
    const { state, effects } = run(events, run(begun).state);
    expect(state).toMatchObject({ phase: "failed", outcome: "rolledBack", error: { code }, active: { digest: OLD } });
    expect(runningOf(state)).toEqual({ slot: serving.active });
    expect(effects.slice(-2)).toEqual(["serve", "cleanUp"]);
    expect(run([desired(wish)], state).effects).toEqual([]);
  });

  it("begins anew after a restart: what it did in an earlier life is not counted", () => {
    const { state, effects } = run(
      [
        [90, { kind: "resumed" }],
        [10, shadowed({})],
      ],
      run(begun).state,
    );
    expect(effects).toEqual(["serve"]);
    expect(state).toMatchObject({ phase: "shadowing", interruptions: 1 });
    expect(state.shadow).toBeUndefined();
    expect(run([done("shadowStarted"), shadowed({})], state).state.phase).toBe("shadowing");
  });

  it("makes way for a newer wish and for a champion that breaks", () => {
    const newer = run([desired(target(NEWER, 2))], run(begun).state);
    expect(newer.effects).toEqual(["serve", "download"]);
    expect(runningOf(newer.state)).toEqual({ slot: serving.active });
    const broken: UpdateEvent = { kind: "activeBroken", digest: OLD, problem: problem("INFERENCE_HUNG") };
    const earlier = { ...run(begun).state, previous: { version: 9, digest: NEWER } };
    const { state } = run([broken, { kind: "rolledBack" }], earlier);
    expect(state).toMatchObject({ phase: "downloading", active: { digest: NEWER }, target: { manifestDigest: NEW } });
  });

  it("is left out where nothing serves yet, and for what proved itself here before", () => {
    expect(run(begun.slice(0, 4), idleModel("m")).state.phase).toBe("activating");
    const evidence = { goldenMatched: true, inferences: 9, errors: 0, p99LatencyUs: 1, soakedMs: 1 };
    expect(run(begun.slice(0, 4), { ...serving, proofs: { [NEW]: evidence } }).state.phase).toBe("activating");
  });

  it("of a wish that failed here before is not begun by the side of another", () => {
    const gone = { ...serving, quarantined: { [NEWER]: 5 } };
    expect(run([...begun, desired(target(NEWER, 2))], gone).state).toMatchObject({
      phase: "failed",
      active: { digest: OLD },
    });
  });
});

describe("whatever happens", () => {
  const anyEvent: fc.Arbitrary<UpdateEvent> = fc.oneof(
    fc
      .tuple(fc.constantFrom(OLD, NEW, NEWER), fc.integer({ min: 1, max: 9 }))
      .map(([of, wish]) =>
        desired(target(of, wish, wish % 2 === 0 ? { shadow: { inferences: 5, durationMs: 60 } } : {})),
      ),
    fc
      .tuple(
        fc.constantFrom(...(["downloaded", "verified", "selfTested", "shadowStarted", "activated"] as const)),
        fc.constantFrom(OLD, NEW, NEWER),
      )
      .map(([kind, of]) => done(kind, of)),
    fc.record({
      kind: fc.constant("stepFailed" as const),
      digest: fc.constantFrom(OLD, NEW, NEWER),
      problem: fc.constant(problem("DIGEST_MISMATCH")),
      again: fc.boolean(),
    }),
    fc
      .tuple(fc.nat(12), fc.nat(3), fc.constantFrom(OLD, NEW, NEWER))
      .map(([inferences, errors, of]) => live({ inferences, errors, digest: of })),
    fc
      .tuple(fc.nat(8), fc.nat(2), fc.constantFrom(OLD, NEW, NEWER))
      .map(([inferences, errors, of]) => shadowed({ inferences, errors, digest: of })),
    fc.constant<UpdateEvent>({ kind: "rolledBack" }),
    fc.constant<UpdateEvent>({ kind: "resumed" }),
  );

  it("a verified model serves, at every step and at every start, once there was one", () => {
    fc.assert(
      fc.property(fc.array(anyEvent, { maxLength: 60 }), (events) => {
        const verified = new Set([OLD]);
        let state = serving;
        let nowMs = 0;
        for (const event of events) {
          nowMs += 50;
          if (
            event.kind === "selfTested" &&
            state.phase === "selfTesting" &&
            state.target?.manifestDigest === event.digest
          )
            verified.add(event.digest);
          state = step(state, event, nowMs).state;
          for (const running of [runningOf(state), runningAtStart(state)]) {
            expect(running).toBeDefined();
            expect(verified).toContain(running?.slot.digest);
          }
          expect(UPDATE_PHASES).toContain(state.phase);
        }
      }),
    );
  });
});
