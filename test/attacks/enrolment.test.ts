import { createHash, randomBytes } from "node:crypto";
import { join } from "node:path";
import Database from "better-sqlite3";
import { afterAll, beforeAll, describe, expect, it, test } from "vitest";
import { type Answer, type Bellwether, startBellwether } from "../kit/bellwether.ts";
import { answerTo, connectDevice, deviceLogin, type EnrolledDevice, enrol, nonceFor } from "../kit/device.ts";
import { eventually } from "../kit/eventually.ts";
import { suiteFolder } from "../kit/folder.ts";
import { type Asked, ENROLMENT, LOGIN, publicHexOf, signed, type World } from "./table/enrolment.ts";
import { named } from "./table/row.ts";

const dir = suiteFolder("bellwether-enrolment-");
let server: Bellwether;
beforeAll(async () => {
  const config = "log: error\n";
  server = await startBellwether({ dir, until: "caller", config });
});
afterAll(async () => await server?.stop());

let names = 0;
const freshName = () => `gw-${++names}`;

const send = (request: object) => server.call("POST /v1/enrolment", request, { token: null });
const order = (device: string, what: string) => server.call(`POST /v1/devices/${device}/${what}`);

async function tokenOf(more: object = {}): Promise<{ secret: string; id: string }> {
  const { body } = await server.call("POST /v1/enrolment-tokens", { site: "plant-a", uses: 2, ...more });
  return { secret: body.secret, id: body.token.id };
}

/** The stored clock of a token is turned: nobody waits for its end. */
function expire(id: string): void {
  const db = new Database(join(dir, "fleet.sqlite"));
  db.prepare("UPDATE enrolment_tokens SET expires_at_ms = 1 WHERE id = ?").run(id);
  db.close();
}

const answer = (device: EnrolledDevice, nonce: string, change: Partial<EnrolledDevice> = {}) => ({
  device: device.device,
  nonce,
  signatureHex: answerTo(device, nonce, change),
});
const login = (request: object) => server.call("POST /v1/device/login", request, { token: null });
const world: World = {
  ...{ freshName, send, order, answer, login },
  tokenOf: async (site) => (await tokenOf({ site })).secret,
  revokeToken: (id) => server.call(`POST /v1/enrolment-tokens/${id}/revoke`),
  expireToken: expire,
  nonceFor: (device) => nonceFor(server, device),
};

describe("an enrolment is refused with", () => {
  it.each(named(ENROLMENT))("%s", async (_, { code, bend }) => {
    // Serial numbers are unique in a site: every row has its own.
    const batch = randomBytes(4).toString("hex");
    const { secret, id } = await tokenOf({ serials: [1, 2, 3].map((number) => `${batch}-${number}`) });
    const asked: Asked = { token: secret, device: freshName(), serial: `${batch}-1`, seed: randomBytes(32) };
    const good = await send(signed(asked));
    expect([good.http, good.body.phase]).toEqual([201, "active"]);
    const before = await server.call("GET /v1/devices?limit=1000");
    const refused = await send(await bend(asked, world, id));
    expect([refused.body.code, refused.http >= 400 && refused.http < 500]).toEqual([code, true]);
    // Nothing came in, and the device that was there has its key.
    const after = await server.call("GET /v1/devices?limit=1000");
    expect(after.body.items.length - before.body.items.length).toBe(code === "ENROLMENT_TOKEN_USED_UP" ? 1 : 0);
    const { body } = await server.call(`GET /v1/devices/${asked.device}`);
    expect(body.keyHex).toBe(publicHexOf(asked.seed));
  });
});

test("a login without the device's key reaches the audit log, once an hour", async () => {
  const device = await enrol(server, freshName());
  for (let i = 0; i < 3; i++) {
    const forged = answer(device, await nonceFor(server, device.device), { seed: randomBytes(32) });
    expect((await login(forged)).body.code).toBe("DEVICE_LOGIN_REFUSED");
  }
  expect((await deviceLogin(server, device)).http).toBe(200);
  const notes = () => server.call(`GET /v1/audit?caller=device:${device.device}`);
  await eventually("it is noted", async () => (await notes()).body.items.length > 0);
  expect((await notes()).body.items).toMatchObject([
    { operation: "deviceSecurityEvent", code: "DEVICE_LOGIN_REFUSED" },
  ]);
});

describe("a login is refused", () => {
  it.each(named(LOGIN))("%s", async (_, { code, bend }) => {
    const device = await enrol(server, freshName());
    expect((await deviceLogin(server, device)).http).toBe(200);
    expect((await login(await bend(device, world))).body.code).toBe(code);
  });
});

const phaseOf = async (device: EnrolledDevice): Promise<string> => {
  const proof = answer(device, await nonceFor(server, device.device));
  return (await server.call("POST /v1/device/status", proof, { token: null })).body.phase;
};

test("a pending device may ask how it stands and nothing else; rejected is final", async () => {
  const device = await enrol(server, freshName(), { preapproved: false });
  expect(await phaseOf(device)).toBe("pending");
  expect((await deviceLogin(server, device)).body.code).toBe("DEVICE_PENDING");
  await expect(connectDevice(server, device)).rejects.toThrow(/refused/i);
  // Whoever does not hold the key learns nothing, not even whether there is such a device.
  const guess = answer(device, await nonceFor(server, device.device), { seed: randomBytes(32) });
  const nobody = await server.call("POST /v1/device/status", guess, { token: null });
  expect([nobody.http, nobody.body.code]).toEqual([401, "DEVICE_LOGIN_REFUSED"]);

  expect((await order(device.device, "reject")).body.phase).toBe("rejected");
  expect((await order(device.device, "reject")).http).toBe(200);
  expect(await phaseOf(device)).toBe("rejected");
  expect((await deviceLogin(server, device)).body.code).toBe("DEVICE_REJECTED");
  await expect(connectDevice(server, device)).rejects.toThrow(/refused/i);
  for (const what of ["approve", "reset", "revoke"]) {
    expect([what, (await order(device.device, what)).body.code]).toEqual([what, "CONFLICT"]);
  }
  const { secret } = await tokenOf();
  const again = await send(signed({ token: secret, device: device.device, seed: randomBytes(32) }));
  expect(again.body.code).toBe("DEVICE_REJECTED");
  const { body } = await server.call("GET /v1/audit?operation=rejectDevice");
  expect(body.items.map((entry: { code: string }) => entry.code)).toEqual(["OK", "OK"]);
});

test("an approved device connects, and an active one cannot be rejected", async () => {
  const device = await enrol(server, freshName(), { preapproved: false });
  expect((await order(device.device, "approve")).body.phase).toBe("active");
  expect(await phaseOf(device)).toBe("active");
  expect((await connectDevice(server, device)).connected()).toBe(true);
  expect((await order(device.device, "reject")).body.code).toBe("CONFLICT");
});

test("a revocation cuts the live session in under a second, and its HTTP token dies with it", async () => {
  const device = await enrol(server, freshName());
  const { token } = (await deviceLogin(server, device)).body;
  const fetchRoot = () => server.call("GET /v1/repository/metadata/timestamp.json", undefined, { token });
  expect((await fetchRoot()).http).toBe(200);
  const live = await connectDevice(server, device);
  const closed = new Promise<number>((done) => live.mqtt.once("close", () => done(performance.now())));
  const startMs = performance.now();
  expect((await order(device.device, "revoke")).http).toBe(200);
  expect((await closed) - startMs).toBeLessThan(1_000);
  expect((await fetchRoot()).http).toBe(401);
});

test("a reset device comes back as the same device with a new key; the old key and its session are dead", async () => {
  const { secret } = await tokenOf({ serials: ["R1"], labels: { line: "7" } });
  const asked: Asked = { token: secret, device: freshName(), serial: "R1", seed: randomBytes(32) };
  const { brokerId } = (await send(signed(asked))).body;
  const old: EnrolledDevice = { site: "plant-a", device: asked.device, seed: asked.seed, brokerId, phase: "active" };
  await server.call(`PUT /v1/devices/${asked.device}/labels`, { line: "8" });
  // Its clock was years ahead: what it said must not stand above what it says after it was wiped.
  const first = await connectDevice(server, old, { session: 9_000_000_000_000 });
  const { token } = (await deviceLogin(server, old)).body;
  await order(asked.device, "reset");
  await eventually("the session is cut", () => !first.connected());

  const seed = createHash("sha256").update(asked.seed).digest();
  expect((await send(signed({ ...asked, seed }))).http).toBe(201);
  const renewed = { ...old, seed };
  expect((await deviceLogin(server, old)).body.code).toBe("DEVICE_LOGIN_REFUSED");
  expect((await server.call("GET /v1/repository/metadata/timestamp.json", undefined, { token })).http).toBe(401);
  const back = await connectDevice(server, renewed, { session: 2 });
  await eventually("it is online", async () => (await show(asked.device)).presence === "online");
  expect(back.connected()).toBe(true);
  expect(await show(asked.device)).toMatchObject({ serial: "R1", labels: { line: "8" }, keyHex: publicHexOf(seed) });
  const { body } = await server.call("GET /v1/devices?limit=1000");
  expect(body.items.filter(({ serial }: { serial: string }) => serial === "R1")).toHaveLength(1);
});

test("a key that is offered under another name flags its device, and the audit log says so", async () => {
  const { secret } = await tokenOf();
  const asked: Asked = { token: secret, device: freshName(), seed: randomBytes(32) };
  await send(signed(asked));
  expect(await show(asked.device)).toMatchObject({ cloned: false, clonedAtMs: null });
  const copy = freshName();
  expect((await send(signed({ ...asked, device: copy }))).body.code).toBe("KEY_IN_USE");
  expect(await show(asked.device)).toMatchObject({ cloned: true, clonedAtMs: expect.any(Number) });
  const { body }: Answer = await server.call(`GET /v1/audit?caller=device:${asked.device}`);
  expect(body.items).toMatchObject([
    { operation: "deviceSecurityEvent", code: "KEY_IN_USE", target: `${copy} offered its key` },
  ]);
});

async function show(device: string) {
  return (await server.call(`GET /v1/devices/${device}`)).body;
}
