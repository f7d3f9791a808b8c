import { describe, expect, it } from "vitest";
import { digestOfVersion, MINUTE_MS, MODEL, RolloutRoom } from "../../../test/kit/rollouts.ts";
import type { RolloutRequest } from "./plan.ts";

const DEVICES = ["d1", "d2", "d3", "d4", "d5"];
/** A canary of one among five that is soaked for a minute, then all others; gates on 30 predictions. */
const WAVES: RolloutRequest["waves"] = [
  { name: "canary", targetPercentage: 20, soakMinutes: 1, errorAction: "REVERT" },
  { name: "rest", targetPercentage: 100, soakMinutes: 1 },
];
const AT_ONCE: RolloutRequest["waves"] = [{ name: "all", targetPercentage: 100, soakMinutes: 0, gates: [] }];
const REQUEST = { waves: WAVES, gateTimeoutMinutes: 5 } as const;

/** Version 1 runs everywhere; version 2 was started and its canary was asked. */
async function deploying(request: Partial<RolloutRequest> = REQUEST) {
  const room = await RolloutRoom.open(DEVICES);
  await room.version(1);
  await room.version(2);
  for (const device of DEVICES) {
    const active = { version: 1, digest: digestOfVersion(1) };
    await room.says(device, { models: [{ model: MODEL, phase: "idle", active }] });
  }
  const { id } = await room.start(2, request);
  await room.tick();
  const [canary] = await room.wave(id, 0);
  const others = await room.wave(id, 1);
  return { room, id, canary: canary!, others };
}

async function soaking(request: Partial<RolloutRequest> = REQUEST) {
  const started = await deploying(request);
  await started.room.answers(started.canary);
  await started.room.tick(1_000, DEVICES);
  expect((await started.room.rollout(started.id)).state.waves[0]).toMatchObject({ phase: "soaking" });
  return started;
}

const pairOf = (value: number) => ({ predecessor: { digest: digestOfVersion(1), value } });

describe("a rollout over the store", () => {
  it("asks the canary alone, and the others only when its gates have passed", async () => {
    const { room, id, canary, others } = await soaking();
    expect(others).toHaveLength(4);
    expect([...room.documents.keys()]).toEqual([canary]);
    expect(room.sent(canary)[0]).toMatchObject({ version: 1, models: [{ version: 2, rollout: id, assignedIn: 1 }] });
    for (const step of [20_000, 20_000, 19_000]) {
      await room.predicts(canary, 2, 20, { value: 5, ...pairOf(5) });
      await room.tick(step, DEVICES);
    }
    expect([...room.documents.keys()]).toEqual([canary]);
    await room.tick(1_000, DEVICES);
    expect((await room.rollout(id)).state).toMatchObject({ phase: "running", waveIndex: 1 });
    await room.tick(1_000, DEVICES);
    expect([...room.documents.keys()].sort()).toEqual(DEVICES);
    const gates = await room.store.rollouts.gates({ id, limit: 100 });
    const passed = gates.filter(({ verdict }) => verdict === "pass").map(({ gate }) => gate);
    expect(passed.sort()).toEqual(["inference-errors", "latency", "live-predictions", "score-shift"]);
    expect(gates.find(({ gate, verdict }) => gate === "latency" && verdict === "pass")).toMatchObject({
      wave: 0,
      statistic: 1 / 50,
      n: 60,
      threshold: 1,
    });
    // As often as it was decided so, from the first time to the last.
    const [last] = gates.filter(({ gate }) => gate === "latency");
    expect(last!.times).toBeGreaterThan(1);
    expect(last!.atMs).toBeGreaterThan(last!.firstAtMs);
    // Too few predictions came first: that verdict is kept as well.
    expect(gates.find(({ gate, verdict }) => gate === "latency" && verdict === "inconclusive")).toMatchObject({
      n: 20,
    });
    expect(room.reports).toEqual([]);
  });

  it("goes on in the middle of a wave after a restart, asking nobody twice", async () => {
    const { room, id, canary, others } = await deploying();
    await room.restart();
    await room.tick(1_000, DEVICES);
    expect(room.sent(canary)).toHaveLength(1);
    expect((await room.rollout(id)).state.waves[0]).toMatchObject({ phase: "deploying" });
    await room.answers(canary);
    await room.tick(1_000, DEVICES);
    await room.restart();
    await room.predicts(canary, 2, 60, { value: 5, ...pairOf(5) });
    await room.tick(MINUTE_MS, DEVICES);
    // These came in the first half of the soak: it is the second that counts.
    expect((await room.rollout(id)).state).toMatchObject({ phase: "paused", waves: [{ phase: "inconclusive" }, {}] });
    await room.restart();
    await room.orders.order(id, "resume");
    await room.tick(40_000, DEVICES);
    await room.predicts(canary, 2, 60, { value: 5, ...pairOf(5) });
    await room.tick(20_000, DEVICES);
    await room.restart();
    await room.tick(1_000, DEVICES);
    expect(others.map((device) => room.asked(device))).toEqual([2, 2, 2, 2]);
    expect(room.sent(canary)).toHaveLength(1);
  });

  it("keeps its state before it acts: what a crash cut short is done at the next look", async () => {
    const room = await RolloutRoom.open(DEVICES);
    await room.version(1);
    let fails = true;
    room.change = ({ assign }) => ({
      assign: (assignment) => {
        if (fails) throw new Error("the power went");
        return assign(assignment);
      },
    });
    await room.restart();
    const { id } = await room.start(1, REQUEST);
    await room.tick();
    expect(room.reports).toMatchObject([{ problem: `rollout ${id}` }]);
    expect((await room.rollout(id)).state.waves[0]).toMatchObject({ phase: "deploying" });
    expect(room.documents.size).toBe(0);
    fails = false;
    await room.tick(1_000);
    const [canary] = await room.wave(id, 0);
    expect([...room.documents.keys()]).toEqual([canary]);
  });

  it("does nothing with a state that somebody else has moved meanwhile", async () => {
    const room = await RolloutRoom.open(DEVICES);
    await room.version(1);
    room.change = ({ store }) => ({
      store: { ...store, rollouts: { ...store.rollouts, save: async () => false } },
    });
    await room.restart();
    const { id } = await room.orders
      .create({ model: MODEL, version: "1", target: { selector: "" }, ...REQUEST }, "test")
      .then((made) => (made.ok ? made.value : expect.unreachable()));
    const { state, updatedAtMs } = await room.rollout(id);
    await room.store.rollouts.save({
      id,
      state: { ...state, phase: "running" },
      readAtMs: updatedAtMs,
      nowMs: room.nowMs,
    });
    await room.tick();
    expect((await room.rollout(id)).state.waves[0]).toMatchObject({ phase: "pending" });
    expect(room.documents.size).toBe(0);
  });

  it("goes on with the others when one is in trouble", async () => {
    const room = await RolloutRoom.open(DEVICES);
    await room.version(1);
    await room.version(2);
    room.change = ({ assign }) => ({
      assign: (assignment) => (assignment.version === 1 ? Promise.reject(new Error("no")) : assign(assignment)),
    });
    await room.restart();
    await room.start(1, { waves: AT_ONCE!, target: { selector: "device=d1" } });
    await room.start(2, { waves: AT_ONCE!, target: { selector: "device=d2" } });
    await room.tick();
    expect(room.reports).toHaveLength(1);
    expect(room.asked("d2")).toBe(2);
  });

  it("asks no more devices in a minute than it may", async () => {
    const room = await RolloutRoom.open(DEVICES);
    await room.version(1);
    const asked = () => room.documents.size;
    await room.start(1, { waves: AT_ONCE!, rolloutConfig: { maximumPerMinute: 2 } });
    await room.tick();
    expect(asked()).toBe(2);
    await room.tick(59_999, DEVICES);
    expect(asked()).toBe(2);
    await room.tick(1, DEVICES);
    expect(asked()).toBe(4);
    await room.tick(MINUTE_MS, DEVICES);
    expect(asked()).toBe(5);
  });

  it("asks a whole wave in one look, each device once and by a document of its own", async () => {
    const many = Array.from({ length: 300 }, (_, n) => `d${n}`);
    const room = await RolloutRoom.open(many);
    await room.version(1);
    await room.start(1, { waves: AT_ONCE! });
    await room.tick();
    expect([...room.documents.keys()].sort()).toEqual(many.toSorted());
    for (const device of many) expect(room.asked(device)).toBe(1);
  });
});

describe("its gates fail closed", () => {
  const asIfNobody = async ({ room, id, others }: Awaited<ReturnType<typeof soaking>>) => {
    for (const device of others) expect(room.sent(device)).toEqual([]);
    expect(room.sent((await room.wave(id, 0))[0]!)).toHaveLength(1);
    return (await room.rollout(id)).state;
  };

  it("silence pauses it, with a decision that names the device", async () => {
    const started = await soaking();
    const { room, id, canary } = started;
    await room.predicts(canary, 2, 60, { value: 5, ...pairOf(5) });
    await room.tick(59_999, DEVICES);
    expect((await room.rollout(id)).state.phase).toBe("running");
    await room.tick(1, DEVICES);
    const reason = `no predictions of late from ${canary}`;
    expect(await asIfNobody(started)).toMatchObject({
      phase: "paused",
      reason: `wave canary inconclusive: ${reason}`,
      waves: [{ phase: "inconclusive", reason }, { phase: "pending" }],
    });
    const [decision] = (await room.store.rollouts.gates({ id, limit: 10 })).filter(
      ({ gate }) => gate === "live-predictions",
    );
    expect(decision).toMatchObject({ verdict: "inconclusive", statistic: 1, n: 1, threshold: 0, reason, wave: 0 });
  });

  it("what ended one round of judging is not written over by the next", async () => {
    const { room, id } = await soaking();
    for (const atEnd of [1, 2]) {
      await room.tick(MINUTE_MS, DEVICES);
      expect((await room.rollout(id)).state.phase).toBe("paused");
      const all = await room.store.rollouts.gates({ id, limit: 100 });
      expect(all.filter(({ gate }) => gate === "live-predictions")).toHaveLength(atEnd);
      await room.orders.order(id, "resume");
    }
    // Page by page they are the same.
    const all = await room.store.rollouts.gates({ id, limit: 100 });
    const one = await room.store.rollouts.gates({ id, limit: 1 });
    const others = await room.store.rollouts.gates({ id, before: one[0]!.id, limit: 100 });
    expect([...one, ...others]).toEqual(all);
  });

  it("failed inferences are no sign of life", async () => {
    const started = await soaking();
    const { room, canary } = started;
    await room.tick(50_000, DEVICES);
    await room.predicts(canary, 2, 1, { error: "INFERENCE_FAILED" });
    await room.predicts(canary, 1, 50);
    await room.tick(10_000, DEVICES);
    expect((await asIfNobody(started)).reason).toContain("no predictions of late");
  });

  it("a wave without a soak is not judged on the moment since the last look", async () => {
    const waves = [{ name: "canary", targetPercentage: 20, soakMinutes: 0, gates: [] }, WAVES![1]!];
    const { room, id, canary } = await deploying({ waves });
    await room.answers(canary);
    await room.predicts(canary, 2, 1);
    await room.tick(4_999, [canary]);
    await room.tick(1, [canary]);
    expect((await room.rollout(id)).state.waves[0]).toMatchObject({ phase: "passed" });
  });

  it("too few predictions are waited for, and pause it when the time is over", async () => {
    const started = await soaking();
    const { room, id, canary } = started;
    const wait = async (ms: number) => {
      await room.tick(ms - 1_000, DEVICES);
      await room.predicts(canary, 2, 1, { value: 5, ...pairOf(5) });
      await room.tick(1_000, DEVICES);
    };
    await wait(MINUTE_MS);
    for (let minute = 0; minute < 4; minute++) await wait(MINUTE_MS);
    expect((await room.rollout(id)).state).toMatchObject({ phase: "running", waves: [{ phase: "soaking" }, {}] });
    await wait(MINUTE_MS);
    const state = await asIfNobody(started);
    expect(state).toMatchObject({ phase: "paused", waves: [{ phase: "inconclusive" }, {}] });
    expect(state.reason).toContain("no verdict from inference-errors, latency, score-shift");
  });

  it.each([
    ["a manifest without a limit", { limitLatencyMs: null, scoreScale: 10 }, "latency"],
    ["a predecessor without a spread", { limitLatencyMs: 50, scoreScale: null }, "score-shift"],
    ["a spread that is no number", { limitLatencyMs: 50, scoreScale: Number.NaN }, "score-shift"],
  ])("%s passes no gate", async (_, facts, gate) => {
    const started = await soaking();
    const { room, canary } = started;
    room.change = () => ({ releaseFacts: async () => facts });
    await room.restart();
    for (let minute = 0; minute < 7; minute++) {
      await room.tick(59_000, DEVICES);
      await room.predicts(canary, 2, 60, { value: 5, ...pairOf(5) });
      await room.tick(1_000, DEVICES);
    }
    const state = await asIfNobody(started);
    expect(state.phase).toBe("paused");
    expect(state.reason).toBe(`wave canary inconclusive: no verdict from ${gate} within the time allowed`);
  });

  it("a worthless model is taken back by its canary's gate, and by a document with a higher number", async () => {
    const started = await soaking();
    const { room, id, canary, others } = started;
    await room.predicts(canary, 2, 40, { value: 50, ...pairOf(5) });
    await room.tick(1_000, DEVICES);
    expect((await room.rollout(id)).state).toMatchObject({ phase: "reverting", waves: [{ phase: "failed" }, {}] });
    expect(room.sent(canary).map(({ version, models }) => [version, models[0]?.version])).toEqual([
      [1, 2],
      [2, 1],
    ]);
    await room.restart();
    await room.tick(1_000, DEVICES);
    expect((await room.rollout(id)).state.phase).toBe("reverting");
    await room.answers(canary);
    await room.tick(1_000, DEVICES);
    expect((await room.rollout(id)).state.phase).toBe("reverted");
    expect(await room.executions(id)).toMatchObject({ [canary]: "reverted" });
    expect(room.sent(canary)).toHaveLength(2);
    for (const device of others) expect(room.sent(device)).toEqual([]);
  });
});

describe("its devices", () => {
  it("a device that first got a model from it is asked to stop running it when it is taken back", async () => {
    const room = await RolloutRoom.open(["d1"]);
    await room.version(1);
    const { id } = await room.start(1, { waves: AT_ONCE! });
    await room.tick();
    await room.orders.order(id, "revert");
    expect(room.sent("d1").at(-1)).toMatchObject({ version: 2, models: [], remove: [MODEL] });
    await room.says("d1", { directorVersion: 2 });
    await room.tick(1_000);
    expect((await room.rollout(id)).state.phase).toBe("reverted");
  });

  it("one out of reach leaves the count, and comes back to it", async () => {
    const { room, id, canary } = await deploying({ ...REQUEST, staleAfterMinutes: 10 });
    await room.tick(10 * MINUTE_MS);
    expect(await room.executions(id)).toMatchObject({ [canary]: "inProgress" });
    await room.tick(1);
    expect(await room.executions(id)).toMatchObject({ [canary]: "stale" });
    expect((await room.rollout(id)).state).toMatchObject({ phase: "paused", waves: [{ phase: "inconclusive" }, {}] });
    await room.tick(1, [canary]);
    expect(await room.executions(id)).toMatchObject({ [canary]: "inProgress" });
  });

  it("that failed are asked again by a retry, with a higher number; those that succeeded are not", async () => {
    const room = await RolloutRoom.open(["d1", "d2"]);
    await room.version(1);
    const { id } = await room.start(1, { waves: AT_ONCE! });
    await room.tick();
    await room.answers("d1");
    const error = { code: "GOLDEN_MISMATCH", message: "no", atMs: 0 };
    await room.answers("d2", { outcome: "failed", error });
    await room.tick(1_000);
    expect((await room.rollout(id)).state.phase).toBe("paused");
    await room.orders.order(id, "retry");
    await room.tick(1_000);
    expect(room.sent("d1")).toHaveLength(1);
    expect(room.sent("d2").map(({ version }) => version)).toEqual([1, 2]);
    // What it said of the first document is no answer to the second.
    expect(await room.executions(id)).toEqual({ d1: "succeeded", d2: "inProgress" });
  });

  it("waits no longer for a device that a newer rollout of the model has taken over", async () => {
    const room = await RolloutRoom.open(["d1", "d2"]);
    await room.version(1);
    await room.version(2);
    const old = await room.start(1, { waves: AT_ONCE! });
    await room.tick();
    await room.answers("d2");
    await room.tick(1_000);
    await room.start(2, { waves: AT_ONCE!, target: { selector: "device=d1" } });
    await room.tick(1_000);
    expect(await room.executions(old.id)).toEqual({ d1: "superseded", d2: "succeeded" });
    expect(room.asked("d1")).toBe(2);
  });

  it.each([
    ["of its document", { directorVersion: 2 }, "failed"],
    ["of a later document, as a whole", { directorVersion: 3 }, "failed"],
    ["of its model", { directorVersion: 2, model: MODEL }, "failed"],
    ["of another model", { directorVersion: 2, model: "other" }, "inProgress"],
    ["of an earlier document", { directorVersion: 1 }, "inProgress"],
    ["of a document that nobody issued", { directorVersion: 4 }, "inProgress"],
    ["while it still tries", {}, "inProgress"],
  ])("a refusal %s counts at once, or not at all", async (_, of, phase) => {
    const room = await RolloutRoom.open(["d1"]);
    await room.version(1);
    const other = {
      device: "d1",
      model: "other",
      version: 1,
      confirm: { inferences: 1, soakMs: 0, deadlineMs: 1_000, errorFraction: 0 },
    };
    await room.director.assign(other);
    const { id } = await room.start(1, { waves: AT_ONCE! });
    await room.tick();
    await room.director.assign({ ...other, version: 2 });
    expect(room.sent("d1").map(({ version }) => version)).toEqual([1, 2, 3]);
    await room.says("d1", { refusals: [{ code: "NOT_IN_TARGETS", message: "no", atMs: room.nowMs, ...of }] });
    await room.tick(1);
    expect(await room.executions(id)).toEqual({ d1: phase });
    const [view] = await room.store.rollouts.executions({ id });
    expect(view?.errorCode).toBe(phase === "failed" ? "NOT_IN_TARGETS" : null);
  });
});

describe("a continuous rollout", () => {
  const CONTINUOUS = { waves: AT_ONCE!, target: { selector: "", selection: "CONTINUOUS" as const } };

  it("takes in who comes later, even after it finished, and leaves out whom it does not fit until it does", async () => {
    const room = await RolloutRoom.open(["d1"]);
    await room.version(1);
    const { id } = await room.start(1, CONTINUOUS);
    await room.tick();
    await room.answers("d1");
    await room.predicts("d1", 1, 1);
    await room.tick(1_000, ["d1"]);
    await room.tick(1_000, ["d1"]);
    expect((await room.rollout(id)).state.phase).toBe("finished");

    await room.enrol("d2", "d3");
    await room.born("d3", { facts: { arch: "riscv64" } });
    await room.tick(1_000);
    expect(await room.executions(id)).toEqual({ d1: "succeeded", d2: "inProgress" });
    expect(await room.store.rollouts.incompatible({ id })).toMatchObject([
      { device: "d3", code: "MODEL_WRONG_ARCHITECTURE", atMs: room.nowMs },
    ]);
    await room.born("d3", { session: 2 });
    await room.tick(59_999);
    expect(room.sent("d3")).toEqual([]);
    await room.tick(1);
    expect(room.asked("d3")).toBe(1);
    expect(await room.store.rollouts.incompatible({ id })).toEqual([]);
  });
});
