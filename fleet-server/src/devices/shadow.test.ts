import type { BirthMessage, ReportedMessage } from "@bellwether/protocol/messages/device.ts";
import { unwrap } from "@bellwether/protocol/result.ts";
import { beforeEach, describe, expect, it } from "vitest";
import { temporaryStore } from "../../../test/kit/store.ts";
import type { EnrolmentTokenRecord } from "../store/devices.ts";
import type { Store } from "../store/store.ts";

let store: Store;
beforeEach(async () => {
  store = await temporaryStore();
});

function token(change: Partial<EnrolmentTokenRecord> = {}): EnrolmentTokenRecord {
  return {
    id: "t",
    site: "plant-a",
    labels: { line: "2" },
    serials: null,
    preapproved: true,
    usesLeft: 2,
    expiresAtMs: 1_000,
    createdAtMs: 0,
    createdBy: "test",
    revoked: false,
    ...change,
  };
}

const enrol = (device: string, change: Partial<Parameters<Store["devices"]["enrol"]>[0]> = {}) =>
  store.devices.enrol({
    hash: "h",
    device,
    serial: null,
    publicHex: `key of ${device}`,
    nowMs: 1,
    reference: "",
    ...change,
  });
const codeOf = async (result: ReturnType<typeof enrol>) => {
  const answer = await result;
  return answer.ok ? answer.value.phase : answer.error.code;
};

describe("an enrolment token", () => {
  it("lets in as many devices as it has uses, each with its site and labels", async () => {
    await store.devices.addEnrolmentToken({ hash: "h", token: token() });
    expect(unwrap(await enrol("gw-1"))).toMatchObject({ site: "plant-a", labels: { line: "2" }, phase: "active" });
    expect(await codeOf(enrol("gw-2"))).toBe("active");
    expect(await codeOf(enrol("gw-3"))).toBe("ENROLMENT_TOKEN_USED_UP");
    // The answer to the first may have been lost: the same device with the same key costs nothing.
    expect(await codeOf(enrol("gw-1"))).toBe("active");
    expect((await store.devices.listEnrolmentTokens({ limit: 1 }))[0]?.usesLeft).toBe(0);
  });

  it("never gives a name to another key, nor a revoked device its place back", async () => {
    await store.devices.addEnrolmentToken({ hash: "h", token: token({ usesLeft: 10 }) });
    await enrol("gw-1");
    expect(await codeOf(enrol("gw-1", { publicHex: "another" }))).toBe("DEVICE_NAME_TAKEN");
    await store.devices.setPhase({ device: "gw-1", phase: "revoked", nowMs: 2 });
    expect(await codeOf(enrol("gw-1"))).toBe("DEVICE_REVOKED");
  });

  it.each([
    ["unknown", {}, { hash: "other" }, "ENROLMENT_REFUSED"],
    ["expired", { expiresAtMs: 1 }, {}, "ENROLMENT_TOKEN_EXPIRED"],
    ["for other serials", { serials: ["S1"] }, { serial: "S2" }, "ENROLMENT_SERIAL_UNLISTED"],
    ["for serials, of a device without one", { serials: ["S1"] }, {}, "ENROLMENT_SERIAL_UNLISTED"],
  ])("that is %s lets nobody in", async (_what, made, asked, code) => {
    await store.devices.addEnrolmentToken({ hash: "h", token: token(made) });
    expect(await codeOf(enrol("gw-1", asked))).toBe(code);
    expect(await store.devices.list({ limit: 10 })).toEqual([]);
  });

  it("that is revoked lets nobody in; without approval beforehand a device waits", async () => {
    await store.devices.addEnrolmentToken({ hash: "h", token: token({ preapproved: false, serials: ["S1"] }) });
    expect(await codeOf(enrol("gw-1", { serial: "S1" }))).toBe("pending");
    await store.devices.revokeEnrolmentToken({ id: "t" });
    expect(await codeOf(enrol("gw-2", { serial: "S1" }))).toBe("ENROLMENT_TOKEN_REVOKED");
  });

  it("two devices race for the last use: one is let in", async () => {
    await store.devices.addEnrolmentToken({ hash: "h", token: token({ usesLeft: 1 }) });
    const answers = await Promise.all(["a", "b", "c", "d"].map((name) => codeOf(enrol(name))));
    expect(answers.filter((answer) => answer === "active").length).toBe(1);
  });
});

describe("what a device says of itself", () => {
  const device = "gw-1";
  beforeEach(async () => {
    await store.devices.addEnrolmentToken({ hash: "h", token: token() });
    await enrol(device);
  });
  const birth = (asset: string, session: number, of: number, more: Partial<BirthMessage> = {}): BirthMessage => ({
    v: 1,
    session,
    asset,
    index: 0,
    of,
    channels: [],
    facts: { arch: "x64" },
    agentVersion: "0.1.0",
    ...more,
  });
  const reported = (rev: number, session: number, more: Partial<ReportedMessage> = {}): ReportedMessage => ({
    v: 1,
    session,
    rev,
    directorVersion: 1,
    models: [{ model: "rul", phase: "idle" }],
    refusals: [],
    ...more,
  });
  const assets = async () => (await store.devices.births({ device })).map(({ asset }) => asset);

  it("counts only from its newest session: a will of an older life changes nothing", async () => {
    expect(await store.devices.state({ device, message: { v: 1, session: 5, online: true }, nowMs: 1 })).toBe(true);
    expect(await store.devices.state({ device, message: { v: 1, session: 4, online: false }, nowMs: 1 })).toBe(false);
    expect(await store.devices.birth({ device, message: birth("old", 4, 1) })).toBe(false);
    expect(await store.devices.reported({ device, message: reported(9, 4), nowMs: 1 })).toBe(0);
    expect(await store.devices.get({ device })).toMatchObject({
      session: 5,
      state: { online: true },
      agentVersion: null,
    });
    expect(await assets()).toEqual([]);
    expect(await store.devices.state({ device, message: { v: 1, session: 5, online: false }, nowMs: 1 })).toBe(true);
  });

  it("replaces its assets when the whole set of a session has arrived, not before", async () => {
    await store.devices.birth({ device, message: birth("pump-1", 1, 2) });
    await store.devices.birth({ device, message: birth("pump-2", 1, 2) });
    await store.devices.birth({ device, message: birth("pump-3", 2, 2) });
    expect(await assets()).toEqual(["pump-1", "pump-2", "pump-3"]);
    await store.devices.birth({ device, message: birth("pump-1", 2, 2, { facts: { arch: "arm64" } }) });
    expect(await assets()).toEqual(["pump-1", "pump-3"]);
    expect((await store.devices.get({ device }))?.facts).toEqual({ arch: "arm64" });
  });

  it("cannot have more assets than it says it has", async () => {
    for (let n = 0; n < 20; n++) await store.devices.birth({ device, message: birth(`pump-${n}`, 1, 3) });
    expect((await assets()).length).toBe(3);
  });

  it("keeps what is reported of models, whole; the answer is the revision kept; refusals are bounded", async () => {
    const refusal = (n: number) => ({ code: "ENVELOPE_UNKNOWN_KEY", message: "m", atMs: n });
    const models = [
      { model: "rul", phase: "confirming" as const },
      { model: "anomaly", phase: "idle" as const },
    ];
    expect(await store.devices.reported({ device, message: reported(1, 1, { models }), nowMs: 1 })).toBe(1);
    expect((await store.devices.reportedModels({ device })).models.map(({ model }) => model)).toEqual([
      "anomaly",
      "rul",
    ]);
    for (let n = 0; n < 20; n++) {
      const refusals = Array.from({ length: 16 }, (_, m) => refusal(n * 16 + m));
      await store.devices.reported({ device, message: reported(n + 2, 1, { refusals, directorVersion: 7 }), nowMs: 1 });
    }
    const kept = await store.devices.reportedModels({ device });
    expect(kept.models.map(({ model }) => model)).toEqual(["rul"]);
    expect(kept.directorVersion).toBe(7);
    expect([kept.refusals.length, kept.refusals[0]?.atMs]).toEqual([100, 319]);
    // A device that says one time for all of them has no more of them for that.
    for (let n = 0; n < 10; n++) {
      const refusals = Array.from({ length: 16 }, (_, m) => ({ ...refusal(400), model: `m-${n}-${m}` }));
      await store.devices.reported({ device, message: reported(n + 22, 1, { refusals }), nowMs: 1 });
    }
    expect((await store.devices.reportedModels({ device })).refusals).toHaveLength(100);
  });

  it("is heard at a time that only moves forward", async () => {
    await store.devices.seen({
      at: [
        [device, 100],
        ["nobody", 5],
      ],
    });
    await store.devices.seen({ at: [[device, 50]] });
    expect((await store.devices.get({ device }))?.lastSeenAtMs).toBe(100);
  });
});
