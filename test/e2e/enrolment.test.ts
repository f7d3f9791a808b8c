import { readFileSync, statSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { ok, unwrap } from "@bellwether/protocol/result.ts";
import { keyPairOf } from "@bellwether/protocol/trust/keys.ts";
import { expect, onTestFinished, test } from "vitest";
import { fileCounter } from "../../agent/src/link/counter.io.ts";
import { enrol, readIdentity } from "../../agent/src/link/enrol.io.ts";
import { readIfThere } from "../../agent/src/link/files.io.ts";
import { isRotating, rotateKey } from "../../agent/src/link/key-rotation.io.ts";
import { createLogin } from "../../agent/src/link/login.io.ts";
import { enrolmentRoutes } from "../../fleet-server/src/api/enrolment.ts";
import { createDeviceLogin } from "../../fleet-server/src/broker/login.io.ts";
import { temporaryFolder } from "../kit/folder.ts";
import { listeningApi } from "../kit/server.ts";
import { temporaryStore } from "../kit/store.ts";

const ROOT = '{"signed":{"_type":"root"}}';

async function setUp() {
  const store = await temporaryStore();
  const secret = new Uint8Array(32).fill(3);
  const login = createDeviceLogin({
    brokerId: "broker-of-the-test",
    secret,
    devices: store.devices,
    now: () => Date.now(),
    loopShare: () => 0,
  });
  const api = await listeningApi(
    store.governance,
    enrolmentRoutes({
      store,
      login,
      mqttUrl: () => "mqtt://127.0.0.1:1883",
      rootMetadata: async () => ROOT,
      timeKey: () => keyPairOf(new Uint8Array(32).fill(4)),
      kick: () => undefined,
    }),
    { limits: { publicPerMinute: 1e9, publicBurst: 1e9 } },
  );
  onTestFinished(() => api.close());
  const token = async (uses = 1) => {
    const response = await fetch(`${api.url}/v1/enrolment-tokens`, {
      method: "POST",
      headers: { authorization: `Bearer ${api.admin}`, "content-type": "application/json" },
      body: JSON.stringify({ site: "plant-a", uses }),
    });
    return ((await response.json()) as { secret: string }).secret;
  };
  const options = (stateDir: string, secretToken: string, device = "gw-1") => ({
    stateDir,
    serverUrl: api.url,
    token: secretToken,
    device,
    nowMs: () => 1_790_000_000_000,
  });
  return { store, login, api, token, options };
}

test("a device makes its key, enrols, and logs in over HTTP and for MQTT", async () => {
  const { login, token, options } = await setUp();
  const stateDir = join(temporaryFolder(), "deep", "state");
  const enrolment = unwrap(await enrol(options(stateDir, await token())));
  expect(enrolment).toMatchObject({ site: "plant-a", device: "gw-1", phase: "active", rootMetadata: ROOT });
  for (const name of ["device.key", "enrolment.json"]) {
    expect(statSync(join(stateDir, name)).mode & 0o777, name).toBe(0o600);
  }
  const identity = unwrap(readIdentity(stateDir));
  expect(identity.enrolment).toEqual(enrolment);

  const device = createLogin(() => identity);
  const first = unwrap(await device.mqtt());
  const second = unwrap(await device.mqtt());
  expect(first.username).toBe("plant-a/gw-1");
  expect(first.password).not.toBe(second.password);
  const [nonce = "", signature = ""] = [
    first.password.slice(0, first.password.lastIndexOf(".")),
    first.password.slice(first.password.lastIndexOf(".") + 1),
  ];
  expect(await login.verify("gw-1", nonce, signature)).toMatchObject({ device: "gw-1" });
  expect(await login.verify("gw-1", nonce, signature), "a nonce serves once").toBeUndefined();

  const bearer = unwrap(await device.httpToken());
  expect(await login.authenticate(bearer)).toMatchObject({ device: "gw-1" });
  expect(unwrap(await device.httpToken())).toBe(bearer);
});

test("a device whose answer was lost enrols again with the same key and the same token", async () => {
  const { token, options } = await setUp();
  const stateDir = temporaryFolder();
  const secret = await token();
  const first = unwrap(await enrol(options(stateDir, secret)));
  // The power failed before the answer was kept.
  writeFileSync(join(stateDir, "kept"), readFileSync(join(stateDir, "device.key")));
  const again = temporaryFolder();
  writeFileSync(join(again, "device.key"), readFileSync(join(stateDir, "kept")));
  expect(unwrap(await enrol(options(again, secret))).publicHex).toBe(first.publicHex);
  expect(await enrol(options(again, secret))).toMatchObject({ error: { code: "DEVICE_ENROLLED_ALREADY" } });
});

test("every refusal is a code with a sentence, and leaves a device that can try again", async () => {
  const { api, token, options } = await setUp();
  const stateDir = temporaryFolder();
  const wrong = await enrol(options(stateDir, "bwe_this-token-does-not-exist"));
  expect(wrong).toMatchObject({ error: { code: "SERVER_REFUSED", detail: { http: 403, code: "ENROLMENT_REFUSED" } } });
  const nobody = await enrol({ ...options(stateDir, "x".repeat(20)), serverUrl: "http://127.0.0.1:9" });
  expect(nobody).toMatchObject({ error: { code: "SERVER_UNREACHABLE" } });
  expect(await enrol({ ...options(stateDir, "x".repeat(20)), serverUrl: "no address" })).toMatchObject({
    error: { code: "SERVER_UNREACHABLE" },
  });
  expect(readIdentity(stateDir)).toMatchObject({ error: { code: "AGENT_NOT_ENROLLED" } });
  unwrap(await enrol(options(stateDir, await token())));
  expect(readIdentity(stateDir).ok).toBe(true);

  writeFileSync(join(stateDir, "device.key"), `${"00".repeat(32)}\n`);
  expect(readIdentity(stateDir)).toMatchObject({ error: { code: "DEVICE_KEY_UNUSABLE" } });
  writeFileSync(join(stateDir, "enrolment.json"), "{");
  expect(readIdentity(stateDir)).toMatchObject({ error: { code: "INVALID_JSON" } });
  expect(await enrol({ ...options("/proc/none/state", "x".repeat(20)), serverUrl: api.url })).toMatchObject({
    error: { code: "STATE_DIRECTORY_UNUSABLE" },
  });
});

test("a nonce of another broker is never signed, and hostile answers are codes", async () => {
  const { token, options } = await setUp();
  const stateDir = temporaryFolder();
  unwrap(await enrol(options(stateDir, await token())));
  const identity = unwrap(readIdentity(stateDir));
  let answer: { http: number; body: string } = { http: 200, body: "" };
  const asked: string[] = [];
  const imposter = createServer((request, response) => {
    asked.push(request.url ?? "");
    response.writeHead(answer.http, { "content-type": "application/json" }).end(answer.body);
  });
  await new Promise<void>((resolve) => imposter.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => void imposter.close());
  const serverUrl = `http://127.0.0.1:${(imposter.address() as AddressInfo).port}/below/`;
  const login = createLogin(() => ({ ...identity, enrolment: { ...identity.enrolment, serverUrl } }));
  const nonce = "n".repeat(40);
  for (const [http, body, code] of [
    [200, JSON.stringify({ nonce, brokerId: "another-broker" }), "BROKER_NOT_OURS"],
    [200, "", "INVALID_JSON"],
    [200, JSON.stringify({ nonce }), "INVALID_SHAPE"],
    [200, `"${"x".repeat(100_000)}"`, "SERVER_UNREACHABLE"],
    [500, "<html>", "SERVER_REFUSED"],
    [302, "", "SERVER_UNREACHABLE"],
  ] as const) {
    answer = { http, body };
    expect(await login.mqtt()).toMatchObject({ ok: false, error: { code } });
    expect(await login.httpToken()).toMatchObject({ ok: false, error: { code } });
  }
  expect(new Set(asked)).toEqual(new Set(["/below/v1/device/nonce"]));
});

test("a counter only grows: over restarts, a clock set back, a damaged file, and a folder that is gone", () => {
  const file = join(temporaryFolder(), "sessions");
  let nowMs = 5_000;
  const first = fileCounter(file, () => nowMs);
  expect([first.next(), first.next()]).toEqual([5_000, 5_001]);
  nowMs = 10;
  const second = fileCounter(file, () => nowMs);
  expect(second.next()).toBe(5_002);
  writeFileSync(file, "not a number");
  nowMs = 9_000;
  expect(fileCounter(file, () => nowMs).next()).toBe(9_000);
  expect(fileCounter(join(file, "below", "a-file"), () => nowMs).next()).toBe(9_000);
});

test("a change of keys that is interrupted anywhere ends with one key, which the server knows", async () => {
  const { store, token, options } = await setUp();
  const stateDir = temporaryFolder();
  unwrap(await enrol(options(stateDir, await token())));
  const files = ["device.key", "device.key.next", "enrolment.json"];
  const read = () => files.map((name) => [name, readIfThere(join(stateDir, name))] as const);
  const before = read();
  const rotated = unwrap(await rotateKey(stateDir, unwrap(readIdentity(stateDir))));
  const after = read();
  expect(isRotating(stateDir)).toBe(false);
  const [[, newKey]] = after as [readonly [string, string]];
  // Power fails: before the server was asked, before its answer was kept, before the new file has its final name.
  for (const [key, enrolment] of [
    [before[0], before[2]],
    [before[0], after[2]],
  ] as const) {
    writeFileSync(join(stateDir, "device.key"), key?.[1] ?? "");
    writeFileSync(join(stateDir, "device.key.next"), newKey);
    writeFileSync(join(stateDir, "enrolment.json"), enrolment?.[1] ?? "");
    expect(isRotating(stateDir)).toBe(true);
    expect(await rotateKey(stateDir, unwrap(readIdentity(stateDir)))).toEqual(ok(rotated));
    expect(read()).toEqual(after);
    expect(await store.devices.get({ device: "gw-1" })).toMatchObject({ publicHex: rotated.enrolment.publicHex });
  }
  expect((await createLogin(() => unwrap(readIdentity(stateDir))).httpToken()).ok).toBe(true);
});
