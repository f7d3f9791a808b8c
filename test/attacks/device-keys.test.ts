import { randomBytes, randomUUID } from "node:crypto";
import { signBytes } from "@bellwether/protocol/trust/keys.ts";
import { wipeBytes } from "@bellwether/protocol/trust/login.ts";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type Bellwether, startBellwether } from "../kit/bellwether.ts";
import { answerTo, connectDevice, deviceLogin, type EnrolledDevice, enrol, nonceFor } from "../kit/device.ts";
import { eventually } from "../kit/eventually.ts";
import { suiteFolder } from "../kit/folder.ts";
import { type KeysWorld, ROTATION, rotationOf } from "./table/device-keys.ts";
import { publicHexOf } from "./table/enrolment.ts";
import { named } from "./table/row.ts";

let server: Bellwether;
beforeAll(async () => {
  const config = "log: error\n";
  server = await startBellwether({ dir: suiteFolder("bellwether-keys-"), until: "caller", config });
});
afterAll(async () => await server?.stop());

let names = 0;
const freshName = () => `gw-${++names}`;
const show = async (device: string) => (await server.call(`GET /v1/devices/${device}`)).body;
const order = (device: string, what: string) => server.call(`POST /v1/devices/${device}/${what}`);
const ask = (what: string, body: object) => server.call(`POST /v1/device/${what}`, body, { token: null });
async function notesOf(device: string): Promise<{ code: string; target: string; requestId: string }[]> {
  return (await server.call(`GET /v1/audit?caller=device:${device}&limit=1000`)).body.items;
}

const rotation = async (device: EnrolledDevice, seed: Uint8Array) =>
  rotationOf(device, await nonceFor(server, device.device), seed);
const world: KeysWorld = {
  enrol: () => enrol(server, freshName()),
  nonceFor: ({ device }) => nonceFor(server, device),
  revoke: ({ device }) => order(device, "revoke"),
  async logIn(device, nonce) {
    const login = { device: device.device, nonce, signatureHex: answerTo(device, nonce) };
    expect((await ask("login", login)).http).toBe(200);
  },
};

test.each(named(ROTATION))("%s", async (_, { bend, code }) => {
  const before = await enrol(server, freshName());
  const seed = randomBytes(32);
  expect((await ask("rotate-key", await rotation(before, seed))).http).toBe(200);
  const device = { ...before, seed };
  const refused = await ask("rotate-key", await bend(device, before.seed, world));
  expect(refused.body.code).toBe(code);
  expect((await show(device.device)).keyHex).toBe(publicHexOf(seed));
});

test("the old key serves until the new one is confirmed, then neither it, nor its session, nor its token", async () => {
  const old = await enrol(server, freshName());
  const { token } = (await deviceLogin(server, old)).body;
  const live = await connectDevice(server, old);
  const closed = new Promise<void>((done) => live.mqtt.once("close", () => done()));
  const seed = randomBytes(32);
  const request = await rotation(old, seed);
  expect((await deviceLogin(server, old)).http).toBe(200);
  expect((await ask("rotate-key", request)).body).toMatchObject({ phase: "active", cloned: false });
  await closed;
  expect((await deviceLogin(server, old)).body.code).toBe("DEVICE_LOGIN_REFUSED");
  expect((await server.call("GET /v1/repository/metadata/timestamp.json", undefined, { token })).http).toBe(401);
  const renewed = { ...old, seed };
  expect((await connectDevice(server, renewed, { session: 2 })).connected()).toBe(true);
  // The answer was lost: the same again, with a fresh nonce, is the same answer and changes nothing.
  const notes = (await notesOf(old.device)).length;
  expect((await ask("rotate-key", await rotation(old, seed))).http).toBe(200);
  expect(await notesOf(old.device)).toHaveLength(notes);
  expect((await notesOf(old.device)).map(({ code }) => code)).toContain("KEY_ROTATED");
});

test("a device wipes itself by a signature for that alone", async () => {
  const device = await enrol(server, freshName());
  const nonce = await nonceFor(server, device.device);
  const login = { device: device.device, nonce, signatureHex: answerTo(device, nonce) };
  expect((await ask("wipe", login)).body.code).toBe("DEVICE_LOGIN_REFUSED");
  expect((await show(device.device)).phase).toBe("active");
  const live = await connectDevice(server, device);
  const wipe = async (by = device.seed) => {
    const fresh = await nonceFor(server, device.device);
    const bytes = wipeBytes(device.brokerId, device.device, fresh);
    return await ask("wipe", {
      device: device.device,
      nonce: fresh,
      signatureHex: signBytes(bytes, by).toString("hex"),
    });
  };
  expect((await wipe(randomBytes(32))).body.code).toBe("DEVICE_LOGIN_REFUSED");
  expect((await wipe()).body).toMatchObject({ phase: "wiped" });
  expect((await wipe()).body, "again, when its answer was lost").toMatchObject({ phase: "wiped" });
  await eventually("its session is cut", () => !live.connected());
  expect((await deviceLogin(server, device)).body.code).toBe("DEVICE_WIPED");
  expect((await notesOf(device.device)).map(({ code }) => code)).toEqual(["DEVICE_LOGIN_REFUSED", "DEVICE_WIPED"]);
});

test("two machines with one key are flagged once they speak in turn; a restart is not", async () => {
  const device = await enrol(server, freshName());
  const [first, second] = [randomUUID(), randomUUID()];
  let session = 0;
  const speakAs = async (instance: string) => {
    const live = await connectDevice(server, device, { session: ++session, quiet: true });
    await live.state({ epoch: live.epoch, streams: [], instance });
    await eventually("the server answers", () => live.acks.length > 0);
    return live;
  };
  await speakAs(first);
  await speakAs(first);
  await speakAs(second);
  expect(await show(device.device)).toMatchObject({ cloned: false });
  // The first machine takes its place again, as a cloned image does: nobody but a second machine can.
  const live = await speakAs(first);
  await eventually("it is flagged", async () => (await show(device.device)).cloned === true);
  await speakAs(second);
  expect((await notesOf(device.device)).map(({ code }) => code)).toEqual(["KEY_CLONED"]);
  expect(live.connected(), "the newest connection is the one that counts").toBe(false);
  // The right machine takes a new key: the other is shut out, and the flag is gone.
  const seed = randomBytes(32);
  expect((await ask("rotate-key", await rotation(device, seed))).body).toMatchObject({ cloned: false });
  await expect(speakAs(second)).rejects.toThrow(/refused/i);
  expect(await show(device.device)).toMatchObject({ cloned: false, keyHex: publicHexOf(seed) });
});

test("a device's security events reach the audit log's chain once each, and no device can fill it", async () => {
  const device = await connectDevice(server, await enrol(server, freshName()));
  const event = (code: string, kind: "security" | "device" = "security") => ({
    atMs: Date.now(),
    kind,
    severity: "warning" as const,
    code,
    text: `what ${code} says`,
  });
  await device.send("event", [event("NOT_IN_TARGETS"), event("MODEL_BROKEN", "device"), event("CLOCK_JUMPED")]);
  await device.acknowledged("event", 3);
  const name = names;
  expect(await notesOf(`gw-${name}`)).toMatchObject([
    { operation: "deviceSecurityEvent", code: "NOT_IN_TARGETS", target: "what NOT_IN_TARGETS says" },
    { code: "CLOCK_JUMPED", requestId: expect.stringMatching(/^event\/\d+\/3$/) },
  ]);
  const flood = Array.from({ length: 300 }, (_, index) => event(`FLOOD_${index}`));
  await device.acknowledged("event", await device.send("event", flood));
  const notes = await notesOf(`gw-${name}`);
  expect(notes.length).toBeLessThanOrEqual(2 * 21);
  expect(notes.map(({ code }) => code)).toContain("SECURITY_EVENTS_LEFT_OUT");
  const other = await connectDevice(server, await enrol(server, freshName()));
  await other.acknowledged("event", await other.send("event", [event("NOT_IN_TARGETS")]));
  expect(await notesOf(`gw-${names}`), "another device has its own share").toHaveLength(1);
});
