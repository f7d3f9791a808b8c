import { unwrap } from "@bellwether/protocol/result.ts";
import { beforeEach, describe, expect, it } from "vitest";
import { type TestApi, testApi } from "../../../test/kit/api.ts";
import { digestOfVersion, MODEL, RolloutRoom } from "../../../test/kit/rollouts.ts";
import { rolloutRoutes } from "./rollouts.ts";

let room: RolloutRoom;
let api: TestApi;
beforeEach(async () => {
  room = await RolloutRoom.open(["d1", "d2"]);
  await room.version(1);
  await room.version(2);
  await room.version(3, {}, "valid");
  api = await testApi(rolloutRoutes({ store: room.store, orders: room.orders }));
  return () => api.close();
});

const request = (changes: object = {}) => ({ model: MODEL, version: "1", target: { selector: "" }, ...changes });
const wave = (changes: object = {}) => ({ name: "all", targetPercentage: 100, soakMinutes: 0, gates: [], ...changes });
const create = (body: unknown = request({ waves: [wave()] }), token = "operator") =>
  api.call(token, "POST /v1/rollouts", body);
const order = (id: string, what: string, token = "operator") => api.call(token, `POST /v1/rollouts/${id}/${what}`);
const show = async (id: string) => (await api.call("viewer", `GET /v1/rollouts/${id}`)).body;

describe("a rollout is planned", () => {
  it("in waves that hold every device once, and waits to be started", async () => {
    await room.born("d2", { channels: [] });
    const { http, body } = await create(request());
    expect(http).toBe(201);
    expect(body).toEqual({
      id: "r-1",
      model: MODEL,
      version: 1,
      manifestDigest: digestOfVersion(1),
      phase: "ready",
      selector: "",
      selection: "SNAPSHOT",
      waveIndex: 0,
      waves: [
        { name: "canary", phase: "pending", devices: 1, executions: { queued: 1 } },
        { name: "early", phase: "pending", devices: 0, executions: {} },
        { name: "rest", phase: "pending", devices: 0, executions: {} },
      ],
      incompatible: 1,
      devicesTouched: 0,
      createdAtMs: room.nowMs,
      createdBy: "token:t-operator:operator",
      updatedAtMs: room.nowMs,
      allowed: ["start", "stop"],
    });
    await room.tick(60_000);
    expect(room.documents.size).toBe(0);
    const left = await api.call("viewer", "GET /v1/rollouts/r-1/incompatible");
    expect(left.body.items).toMatchObject([{ device: "d2", code: "MODEL_FITS_NO_ASSET", atMs: body.createdAtMs }]);
  });

  const WRONG: readonly [string, unknown, number, string, RegExp?][] = [
    ["nothing in it", {}, 400, "INVALID_SHAPE"],
    ["no target", { model: MODEL, version: "1" }, 400, "INVALID_SHAPE", /target/],
    ["a member that nobody knows", request({ wavs: [] }), 400, "INVALID_SHAPE", /wavs/],
    ["a version that is no text", request({ version: 1 }), 400, "INVALID_SHAPE", /version/],
    [
      "a threshold that is no number",
      request({ waves: [wave({ errorCondition: { condition: "THRESHOLD", expression: "NaN" } })] }),
      400,
      "INVALID_SHAPE",
      /expression/,
    ],
    [
      "a threshold over all",
      request({ waves: [wave({ successCondition: { condition: "THRESHOLD", expression: "101" } })] }),
      400,
      "INVALID_SHAPE",
      /expression/,
    ],
    ["a wave of nobody", request({ waves: [wave({ targetPercentage: 0 })] }), 400, "INVALID_SHAPE", /targetPercentage/],
    ["no wave", request({ waves: [] }), 400, "INVALID_SHAPE", /waves/],
    ["a gate that nobody knows", request({ waves: [wave({ gates: ["luck"] })] }), 400, "INVALID_SHAPE", /gates/],
    ["a negative soak", request({ waves: [wave({ soakMinutes: -1 })] }), 400, "INVALID_SHAPE", /soakMinutes/],
    ["two waves of one name", request({ waves: [wave(), wave()] }), 400, "INVALID_SHAPE", /waves/],
    [
      "a proof that takes longer than its deadline",
      request({ confirm: { soakSeconds: 60, deadlineSeconds: 60 } }),
      400,
      "INVALID_SHAPE",
      /deadlineSeconds/,
    ],
    ["a version that does not exist", request({ version: "9" }), 404, "ROLLOUT_VERSION_UNKNOWN", /9/],
    ["a model that does not exist", request({ model: "other" }), 404, "ROLLOUT_VERSION_UNKNOWN", /other/],
    ["a version that is not released", request({ version: "3" }), 409, "ROLLOUT_VERSION_NOT_RELEASED", /valid/],
    ["a selector that is none", request({ target: { selector: "a in" } }), 400, "SELECTOR_INVALID"],
    [
      "a selector that nobody matches",
      request({ target: { selector: "device=d9" } }),
      422,
      "ROLLOUT_TARGET_EMPTY",
      /d9/,
    ],
  ];
  it("but not from what is wrong, whose fault is named", async () => {
    for (const [what, wrong, http, code, named = /./] of WRONG) {
      const answer = await create(wrong);
      expect([what, answer.http, answer.body.code]).toEqual([what, http, code]);
      expect(answer.body.detail, what).toMatch(named);
    }
    expect((await api.call("viewer", "GET /v1/rollouts")).body).toEqual({ items: [] });
  });

  it("but not for devices none of which can run it", async () => {
    for (const device of ["d1", "d2"]) await room.born(device, { facts: { arch: "mips" } });
    const { http, body } = await create();
    expect([http, body.code]).toEqual([422, "ROLLOUT_TARGET_INCOMPATIBLE"]);
    expect(body.facts).toMatchObject({ devices: 2, code: "MODEL_WRONG_ARCHITECTURE" });
    // Who comes later may be able to.
    const later = await create(request({ target: { selector: "", selection: "CONTINUOUS" } }));
    expect(later.body).toMatchObject({ incompatible: 2, waves: [{ devices: 0 }, { devices: 0 }, { devices: 0 }] });
  });

  it("by operators alone", async () => {
    for (const role of ["viewer", "approver", "releaser"]) expect((await create(request(), role)).http).toBe(403);
    expect((await create(request(), "admin")).http).toBe(201);
  });
});

describe("a rollout takes orders", () => {
  const started = async (changes: object = {}) => {
    const { body } = await create(request({ waves: [wave()], ...changes }));
    expect((await order(body.id, "start")).body).toMatchObject({ phase: "running" });
    await room.tick(1_000);
    return body.id as string;
  };

  it("pause holds it where it is, resume lets it go on", async () => {
    const id = await started({ rolloutConfig: { maximumPerMinute: 1 } });
    expect((await order(id, "pause")).body).toMatchObject({
      phase: "paused",
      reason: "ordered: pause",
      devicesTouched: 1,
    });
    await room.tick(61_000);
    expect(room.documents.size).toBe(1);
    expect((await show(id)).allowed).toEqual(["resume", "retry", "stop", "revert"]);
    expect((await order(id, "resume")).body).toMatchObject({ phase: "running" });
    await room.tick(1_000);
    expect(room.documents.size).toBe(2);
  });

  it("stop asks nobody else and lets who was asked come to an end", async () => {
    const id = await started({ rolloutConfig: { maximumPerMinute: 1 } });
    expect((await order(id, "stop")).body).toMatchObject({ phase: "stopping" });
    await room.tick(61_000);
    const [asked] = [...room.documents.keys()];
    expect((await show(id)).phase).toBe("stopping");
    await room.answers(asked!);
    await room.tick(61_000);
    expect(await show(id)).toMatchObject({ phase: "stopped", devicesTouched: 1, allowed: ["revert"] });
    expect(room.documents.size).toBe(1);
  });

  it("revert brings everybody who was asked back, with documents of higher numbers", async () => {
    const before = await started();
    for (const device of ["d1", "d2"]) {
      await room.answers(device);
      await room.predicts(device, 1, 1);
    }
    await room.tick(1_000);
    await room.tick(1_000);
    expect((await show(before)).phase).toBe("finished");
    const id = await started({ version: "2" });
    expect((await order(id, "revert")).body).toMatchObject({ phase: "reverting", allowed: [] });
    for (const device of ["d1", "d2"]) {
      expect(room.sent(device).map(({ version, models }) => [version, models[0]?.version])).toEqual([
        [1, 1],
        [2, 2],
        [3, 1],
      ]);
      await room.answers(device);
    }
    await room.tick(1_000);
    expect(await show(id)).toMatchObject({ phase: "reverted", waves: [{ executions: { reverted: 2 } }] });
  });

  it("abort criteria stop it by themselves, and not before enough devices were tried", async () => {
    const criterion = {
      action: "CANCEL",
      failureType: "FAILED",
      minNumberOfExecutedThings: 2,
      thresholdPercentage: 100,
    };
    const id = await started({
      waves: [wave({ errorCondition: { condition: "THRESHOLD", expression: "100" } })],
      abortConfig: { criteriaList: [criterion] },
    });
    const failed = {
      outcome: "failed" as const,
      error: { code: "GOLDEN_MISMATCH", message: "the third case", atMs: 0 },
    };
    await room.answers("d1", failed);
    await room.tick(1_000);
    expect((await show(id)).phase).toBe("running");
    await room.answers("d2", failed);
    await room.tick(1_000);
    await room.tick(1_000);
    expect(await show(id)).toMatchObject({ phase: "stopped", reason: "aborted: the abort criteria were met" });
    const { items } = (await api.call("viewer", `GET /v1/rollouts/${id}/executions`)).body;
    expect(items[0]).toMatchObject({ phase: "failed", errorCode: "GOLDEN_MISMATCH", errorMessage: "the third case" });
  });

  it("a refusal is shown with its own sentence", async () => {
    const id = await started();
    const refusal = {
      code: "NOT_IN_TARGETS",
      message: "nobody released it",
      atMs: 1,
      directorVersion: 1,
      model: MODEL,
    };
    await room.says("d1", { refusals: [refusal] });
    await room.tick(1_000);
    const { items } = (await api.call("viewer", `GET /v1/rollouts/${id}/executions`)).body;
    expect(items[0]).toMatchObject({ device: "d1", phase: "failed", errorMessage: "nobody released it" });
  });

  it("an approver's yes is needed where the plan says so, and an operator's is none", async () => {
    const { body } = await create(request({ requireApproval: true }));
    expect(body).toMatchObject({ phase: "waitingForApproval", allowed: ["approve", "deny"] });
    expect((await order(body.id, "start")).body.code).toBe("ROLLOUT_COMMAND_REFUSED");
    expect((await order(body.id, "approve")).body.code).toBe("FORBIDDEN");
    expect((await order(body.id, "approve", "approver")).body.phase).toBe("ready");
    expect((await order(body.id, "start", "approver")).body.code).toBe("FORBIDDEN");
    const denied = (await create(request({ requireApproval: true }))).body.id;
    expect((await order(denied, "deny", "approver")).body).toMatchObject({ phase: "stopped", allowed: ["revert"] });
  });

  it("what its phase does not know is refused, and names what it takes", async () => {
    const { body } = await create();
    const answer = await order(body.id, "resume");
    expect([answer.http, answer.body.code]).toEqual([409, "ROLLOUT_COMMAND_REFUSED"]);
    expect(answer.body.facts).toMatchObject({ phase: "ready", order: "resume", allowed: "start, stop" });
    expect((await show(body.id)).phase).toBe("ready");
    expect((await order(body.id, "explode")).body.code).toBe("INVALID_PATH");
    expect((await order(body.id, "start", "viewer")).http).toBe(403);
  });

  it("one that comes while another moves it on is told so", async () => {
    const { body } = await create();
    const [one, two] = await Promise.all([order(body.id, "start"), order(body.id, "stop")]);
    expect([one.http, two.http].sort()).toEqual([200, 409]);
    expect((one.http === 409 ? one : two).body.code).toBe("CONFLICT");
  });
});

describe("rollouts are shown", () => {
  it("newest first, page by page, also those that were made at one time", async () => {
    const ids: string[] = [];
    for (let i = 0; i < 7; i++) {
      ids.push((await create()).body.id);
      if (i % 3 === 2) room.nowMs += 1;
    }
    const seen: string[] = [];
    let cursor = "";
    do {
      const { body } = await api.call("viewer", `GET /v1/rollouts?limit=2${cursor}`);
      expect(body.items.length).toBeLessThanOrEqual(2);
      seen.push(...body.items.map(({ id }: { id: string }) => id));
      cursor = body.next ? `&cursor=${body.next}` : "";
    } while (cursor !== "");
    expect(seen).toEqual(ids.toReversed());
    await order(ids[3]!, "start");
    const running = (await api.call("viewer", "GET /v1/rollouts?phase=running")).body.items;
    expect(running).toMatchObject([{ id: ids[3] }]);
    expect((await api.call("viewer", "GET /v1/rollouts?cursor=nonsense")).body.code).toBe("INVALID_CURSOR");
    expect((await api.call("viewer", "GET /v1/rollouts?phase=odd")).body.code).toBe("INVALID_QUERY");
  });

  it("but one that is not there is not, and takes no order", async () => {
    for (const list of ["", "/executions", "/incompatible", "/gates"]) {
      const { http, body } = await api.call("viewer", `GET /v1/rollouts/r-9${list}`);
      expect([http, body.code, body.detail]).toEqual([404, "NOT_FOUND", expect.stringContaining("r-9")]);
    }
    expect((await order("r-9", "start")).body.code).toBe("NOT_FOUND");
  });

  it("to who is limited to a site only those of that site, which reach no further", async () => {
    const token = { id: "t2", site: "north", labels: {}, serials: null, preapproved: true, usesLeft: 9 };
    const times = { expiresAtMs: 9e12, createdAtMs: 0, createdBy: "test", revoked: false };
    unwrap(await room.store.devices.addEnrolmentToken({ hash: "h2", token: { ...token, ...times } }));
    const asked = { hash: "h2", serial: null, nowMs: room.nowMs, reference: "" };
    const join = async (device: string) =>
      unwrap(await room.store.devices.enrol({ ...asked, device, publicHex: device }));
    await join("n1");
    const everywhere = (await create()).body.id as string;
    const continuous = request({ waves: [wave()], target: { selector: "", selection: "CONTINUOUS" } });
    const { id: own, waves } = (await create(continuous, "operator@north")).body;
    expect(waves).toMatchObject([{ devices: 1 }]);
    expect((await create(request({ target: { selector: "device=d1" } }), "operator@north")).body.code).toBe(
      "ROLLOUT_TARGET_EMPTY",
    );

    const listed = async (caller: string) => {
      const { items } = (await api.call(caller, "GET /v1/rollouts")).body;
      return items.map(({ id }: { id: string }) => id).sort();
    };
    expect(await listed("viewer")).toEqual([everywhere, own].sort());
    expect(await listed("viewer@north")).toEqual([own]);
    expect(await listed("viewer@plant")).toEqual([]);
    for (const path of ["", "/executions", "/incompatible", "/gates"]) {
      expect((await api.call("viewer@north", `GET /v1/rollouts/${own}${path}`)).http).toBe(200);
      expect((await api.call("viewer@north", `GET /v1/rollouts/${everywhere}${path}`)).http).toBe(404);
    }
    expect((await order(everywhere, "start", "operator@north")).body.code).toBe("NOT_FOUND");
    expect((await show(everywhere)).phase).toBe("ready");

    // Who joins later is of that site too.
    expect((await order(own, "start", "operator@north")).http).toBe(200);
    await room.enrol("d3");
    await join("n2");
    await room.tick(1_000);
    expect(await room.executions(own)).toEqual({ n1: "inProgress", n2: "inProgress" });
    expect([...room.documents.keys()].sort()).toEqual(["n1", "n2"]);
  });
});
