import { appendFileSync, existsSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { digestOf } from "@bellwether/protocol/package/check.ts";
import { err, ok } from "@bellwether/protocol/result.ts";
import { DIRECT } from "@bellwether/protocol/tls/transport.ts";
import { beforeEach, expect, onTestFinished, test } from "vitest";
import { temporaryFolder } from "../../../test/kit/folder.ts";
import { testPackage } from "../../../test/kit/packages.ts";
import { releaseOf, type TestRelease, TestRepository } from "../../../test/kit/tuf.ts";
import { downloadBlob } from "./download.io.ts";
import { downloadPackage, type InstallPorts, isInstalled, verifyPackage } from "./install.io.ts";
import type { Target } from "./machine.ts";
import { openSlots, type Slots } from "./slots.io.ts";

const RELEASE = releaseOf(testPackage(), 3);
const confirm = { inferences: 1, soakMs: 0, deadlineMs: 1, errorFraction: 0 };
const FILES = ["golden.json", "manifest.json", "model.onnx", "reference.json"];

let server: TestRepository;
let slots: Slots;
beforeEach(async () => {
  server = await TestRepository.start();
  onTestFinished(() => server.close());
  server.publish(1, [RELEASE]);
  slots = openSlots(temporaryFolder());
});

function targetOf({ manifest: _, blobs: __, ...release }: TestRelease): Target {
  return { ...release, confirm, directorVersion: 1 };
}
const target = targetOf(RELEASE);

function download(
  wanted = target,
  changes: Partial<InstallPorts> = {},
  onProgress: (fraction: number) => void = () => {},
) {
  const ports = {
    slots,
    download: downloadBlob,
    serverUrl: server.url,
    token: async () => ok("token"),
    compatible: () => ok(undefined),
    transport: () => DIRECT,
  };
  return downloadPackage({ ...ports, ...changes }, wanted, new AbortController().signal, onProgress);
}
const isSlot = () => existsSync(slots.pathOf(target.model, target.manifestDigest));

test("a package becomes a slot only when every byte was verified from the disk", async () => {
  const progress: number[] = [];
  expect(await download(target, {}, (fraction) => progress.push(fraction))).toEqual({ ok: true });
  expect(progress.at(-1)).toBe(1);
  expect(isSlot()).toBe(false);
  expect(slots.has(target.model, target.manifestDigest)).toBe(false);
  expect(verifyPackage(slots, target)).toEqual({ ok: true });
  expect(slots.has(target.model, target.manifestDigest)).toBe(true);
  expect(readdirSync(slots.pathOf(target.model, target.manifestDigest)).sort()).toEqual(FILES);
});

test.each(FILES)("a %s that changed after it was downloaded gets no final name", async (name) => {
  await download();
  const path = join(slots.partialOf(target.model, target.manifestDigest), name);
  const bytes = readFileSync(path);
  bytes[bytes.length >> 1]! ^= 1;
  writeFileSync(path, bytes);
  expect(verifyPackage(slots, target)).toMatchObject({ ok: false, again: true, error: { code: "DIGEST_MISMATCH" } });
  expect(isSlot()).toBe(false);
  // The disk did it: the next try fetches that file anew.
  server.asked.length = 0;
  expect(await download()).toEqual({ ok: true });
  expect(server.asked).toHaveLength(1);
  expect(verifyPackage(slots, target)).toEqual({ ok: true });
});

test.each(FILES)("a slot whose %s rotted or went is none, and is removed", async (name) => {
  const install = async () => {
    await download();
    verifyPackage(slots, target);
  };
  expect(isInstalled(slots, target)).toBe(false);
  await install();
  expect(isInstalled(slots, target)).toBe(true);
  const path = join(slots.pathOf(target.model, target.manifestDigest), name);
  for (const spoil of [() => appendFileSync(path, " "), () => rmSync(path)]) {
    spoil();
    expect(isInstalled(slots, target)).toBe(false);
    await install();
    expect(isInstalled(slots, target)).toBe(true);
  }
  expect(isSlot()).toBe(true);
});

test("what does not fit the device is rejected by its manifest alone", async () => {
  const compatible = () => err("MODEL_NEEDS_MEMORY", { model: "pump-rul", version: 3, expected: 9, actual: 1 });
  expect(await download(target, { compatible })).toMatchObject({ ok: false, rejected: true, again: false });
  expect(server.asked).toEqual([`blobs/${target.manifestDigest}`]);
});

test("wrong bytes from the server end this wish: nobody fetches them again and again", async () => {
  const [, model] = RELEASE.blobs;
  server.files.set(`blobs/${digestOf(model!)}`, Buffer.alloc(model!.byteLength));
  const refused = { again: false, rejected: false, error: { code: "DIGEST_MISMATCH" } };
  expect(await download()).toMatchObject(refused);
});

test("what does not fit the disk is not begun, and tried again when there may be room", async () => {
  const preflight = () => err("DISK_TOO_FULL", { free: 1, needed: 2 });
  const full = { ...slots, preflight };
  expect(await download(target, { slots: full })).toMatchObject({ again: true, error: { code: "DISK_TOO_FULL" } });
  expect(server.asked).toEqual([`blobs/${target.manifestDigest}`]);
});

test("what an earlier try left needs no room twice", async () => {
  await download();
  const asked: number[] = [];
  const preflight = (bytes: number) => {
    asked.push(bytes);
    return ok(undefined);
  };
  truncateSync(join(slots.partialOf(target.model, target.manifestDigest), "model.onnx"), 10);
  await download(target, { slots: { ...slots, preflight } });
  const model = RELEASE.blobs[1]!.byteLength;
  expect(asked).toEqual([model - 10]);
});

test.each([
  err("SERVER_UNREACHABLE", { url: "u", reason: "ECONNREFUSED" }),
  err("TLS_CA_UNKNOWN", { name: "a portal that wants a password" }),
  err("PROXY_REFUSED", { proxy: "p", target: "t", reason: "it answered 407" }),
  err("INVALID_JSON", { what: "The nonce answer", reason: "a login page" }),
])("without a token ($error.code) nothing is asked; it is tried again", async (refused) => {
  const token = async () => refused;
  expect(await download(target, { token })).toMatchObject({ again: true, rejected: false });
  expect(server.asked).toEqual([]);
});

test.each([
  ["model", { model: "fan-rul" }],
  ["version", { version: 4 }],
])("a manifest of another %s is not taken, though it was signed under this name", async (_, changes) => {
  expect(await download({ ...target, ...changes })).toMatchObject({ again: false, error: { code: "NOT_IN_TARGETS" } });
  expect(server.asked).toEqual([`blobs/${target.manifestDigest}`]);
});

test("what is no manifest is refused, digest or not", async () => {
  const manifest = Buffer.from('{"v":1}');
  server.files.set(`blobs/${digestOf(manifest)}`, manifest);
  const wanted = { ...target, manifestDigest: digestOf(manifest), manifestLength: manifest.length };
  expect(await download(wanted)).toMatchObject({ ok: false, again: false, rejected: false });
});
