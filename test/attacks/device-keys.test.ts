import { randomBytes, randomUUID } from "node:crypto";
import { keyPairOf, signBytes } from "@bellwether/protocol/trust/keys.ts";
import { rotationBytes, wipeBytes } from "@bellwether/protocol/trust/login.ts";
import { afterAll, beforeAll, describe, expect, it, test } from "vitest";
import { type Bellwether, startBellwether } from "../kit/bellwether.ts";
import { answerTo, connectDevice, deviceLogin, type EnrolledDevice, enrol, nonceFor } from "../kit/device.ts";
import { eventually } from "../kit/eventually.ts";
import { suiteFolder } from "../kit/folder.ts";

let server: Bellwether;
beforeAll(async () => {
  const config = "log: error\n";
  server = await startBellwether({ dir: suiteFolder("bellwether-keys-"), until: "caller", config });
});
afterAll(async () => await server?.stop());

let names = 0;
const freshName = () => `gw-${++names}`;
const publicHexOf = (seed: Uint8Array) => Buffer.from(keyPairOf(seed).publicKey).toString("hex");
const show = async (device: string) => (await server.call(`GET /v1/devices/${device}`)).body;
const order = (device: string, what: string) => server.call(`POST /v1/devices/${device}/${what}`);
const ask = (what: string, body: object) => server.call(`POST /v1/device/${what}`, body, { token: null });
async function notesOf(device: string): Promise<{ code: string; target: string; requestId: string }[]> {
  return (await server.call(`GET /v1/audit?caller=device:${device}&limit=1000`)).body.items;
}

/** A request for a new key, whole; every part of it may be somebody else's. */
async function rotation(
  device: EnrolledDevice,
  seed: Uint8Array,
  change: { old?: Uint8Array; fresh?: Uint8Array } = {},
) {
  const nonce = await nonceFor(server, device.device);
  const newPublicHex = publicHexOf(seed);
  const bytes = rotationBytes(device.brokerId, device.device, nonce, newPublicHex);
  const by = (key: Uint8Array) => signBytes(bytes, key).toString("hex");
  const signatures = { signatureHex: by(change.old ?? device.seed), newSignatureHex: by(change.fresh ?? seed) };
  return { device: device.device, nonce, newPublicHex, ...signatures };
}

type Row = readonly [what: string, code: string, attack: (device: EnrolledDevice, old: Uint8Array) => Promise<object>];
const ROWS: readonly Row[] = [
  [
    "not signed by the key it replaces",
    "DEVICE_LOGIN_REFUSED",
    (device) => rotation(device, randomBytes(32), { old: randomBytes(32) }),
  ],
  [
    "signed by the key before the one it replaces",
    "DEVICE_LOGIN_REFUSED",
    (device, old) => rotation(device, randomBytes(32), { old }),
  ],
  [
    "of a key that nobody proved",
    "DEVICE_LOGIN_REFUSED",
    (device) => rotation(device, randomBytes(32), { fresh: randomBytes(32) }),
  ],
  [
    "of another key than was signed",
    "DEVICE_LOGIN_REFUSED",
    async (device) => ({ ...(await rotation(device, randomBytes(32))), newPublicHex: publicHexOf(randomBytes(32)) }),
  ],
  [
    "to a key of small order",
    "KEY_INVALID",
    async (device) => ({ ...(await rotation(device, randomBytes(32))), newPublicHex: "00".repeat(32) }),
  ],
  [
    "to another device's key",
    "KEY_IN_USE",
    async (device) => rotation(device, (await enrol(server, freshName())).seed),
  ],
  ["back to a key it had", "KEY_IN_USE", (device, old) => rotation(device, old)],
  [
    "with a nonce that served",
    "DEVICE_LOGIN_REFUSED",
    async (device) => {
      const request = await rotation(device, randomBytes(32), { fresh: device.seed });
      const used = { device: device.device, nonce: request.nonce, signatureHex: answerTo(device, request.nonce) };
      expect((await ask("login", used)).http).toBe(200);
      const seed = randomBytes(32);
      const newPublicHex = publicHexOf(seed);
      const bytes = rotationBytes(device.brokerId, device.device, request.nonce, newPublicHex);
      const by = (key: Uint8Array) => signBytes(bytes, key).toString("hex");
      return { ...used, newPublicHex, signatureHex: by(device.seed), newSignatureHex: by(seed) };
    },
  ],
  [
    "of a device that was revoked",
    "DEVICE_REVOKED",
    async (device) => {
      await order(device.device, "revoke");
      return rotation(device, randomBytes(32));
    },
  ],
];

describe("a new key is refused that is", () => {
  it.each(ROWS)("%s (%s)", async (_what, code, attack) => {
    const before = await enrol(server, freshName());
    const seed = randomBytes(32);
    expect((await ask("rotate-key", await rotation(before, seed))).http).toBe(200);
    const device = { ...before, seed };
    const refused = await ask("rotate-key", await attack(device, before.seed));
    expect(refused.body.code).toBe(code);
    expect((await show(device.device)).keyHex).toBe(publicHexOf(seed));
  });
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
  expect((await notesOf(device.device)).map(({ code }) => code)).toEqual(["DEVICE_WIPED"]);
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
