import { existsSync, readFileSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import type { ServerResponse } from "node:http";
import { join } from "node:path";
import { digestOf } from "@bellwether/protocol/package/check.ts";
import { beforeEach, expect, onTestFinished, test } from "vitest";
import { eventually } from "../../../test/kit/eventually.ts";
import { temporaryFolder } from "../../../test/kit/folder.ts";
import { TestRepository } from "../../../test/kit/tuf.ts";
import { type DownloadRequest, downloadBlob } from "./download.io.ts";

const BLOB = Buffer.from(Array.from({ length: 100_000 }, (_, i) => i % 251));
const DIGEST = digestOf(BLOB);
const PATH = `blobs/${DIGEST}`;
const QUICK = { idleMs: 400, minBytesPerSecond: 1_000, rateWindowMs: 300 };

let server: TestRepository;
let file: string;
beforeEach(async () => {
  server = await TestRepository.start();
  onTestFinished(() => server.close());
  server.files.set(PATH, BLOB);
  file = join(temporaryFolder(), "model.onnx");
});

function download(changes: Partial<DownloadRequest> = {}) {
  const url = `${server.url}/v1/${PATH}`;
  return downloadBlob({
    url,
    token: "token",
    file,
    what: "the model",
    digest: DIGEST,
    length: BLOB.length,
    ...changes,
  });
}

/** Answers one request in an own way. */
function once(answer: (response: ServerResponse) => void): void {
  server.answers.set(PATH, (_, response) => {
    server.answers.delete(PATH);
    answer(response);
  });
}

test("what arrives is exactly what was signed, and progress says how far it is", async () => {
  const progress: number[] = [];
  expect(await download({ onProgress: (bytes) => progress.push(bytes) })).toEqual({ ok: true });
  expect(readFileSync(file)).toEqual(BLOB);
  expect(progress.at(-1)).toBe(BLOB.length);
  expect(progress).toEqual([...progress].sort((a, b) => a - b));
});

test("a download that was cut goes on where it ended", async () => {
  once((response) => {
    response.writeHead(200);
    response.write(BLOB.subarray(0, 40_000), () => response.destroy());
  });
  expect(await download()).toMatchObject({ ok: false, error: { code: "DOWNLOAD_FAILED" } });
  const { size } = statSync(file);
  expect(size).toBeGreaterThan(0);
  expect(await download()).toEqual({ ok: true });
  expect(server.asked).toEqual([PATH, `${PATH} bytes=${size}-`]);
  expect(readFileSync(file)).toEqual(BLOB);
});

test("what is there already is not asked for, only looked at", async () => {
  writeFileSync(file, BLOB);
  expect(await download()).toEqual({ ok: true });
  expect(server.asked).toEqual([]);
});

test("a server that knows no ranges sends the whole again", async () => {
  writeFileSync(file, BLOB.subarray(0, 40_000));
  once((response) => response.end(BLOB));
  expect(await download()).toEqual({ ok: true });
  expect(readFileSync(file)).toEqual(BLOB);
});

test.each<[string, Buffer]>([
  ["holes", Buffer.alloc(40_000)],
  ["the whole length in holes", Buffer.alloc(BLOB.length)],
  ["more than the whole", Buffer.concat([BLOB, Buffer.of(1)])],
])("where an earlier try left %s, it starts anew", async (_, left) => {
  writeFileSync(file, left);
  expect(await download()).toEqual({ ok: true });
  expect(server.asked.at(-1)).toBe(PATH);
  expect(readFileSync(file)).toEqual(BLOB);
});

test("wrong bytes are refused for good, and nothing of them stays to build on", async () => {
  server.files.set(PATH, Buffer.from(BLOB).fill(7, 50_000, 50_001));
  const refused = await download();
  expect(refused).toMatchObject({ ok: false, error: { code: "DIGEST_MISMATCH" } });
  expect(existsSync(file)).toBe(false);
  expect(server.asked).toHaveLength(1);
});

test("nothing beyond the signed length is kept", async () => {
  server.files.set(PATH, Buffer.concat([BLOB, BLOB]));
  expect(await download()).toMatchObject({ ok: false, error: { code: "DOWNLOAD_TOO_LONG" } });
  expect(statSync(file).size).toBeLessThanOrEqual(BLOB.length);
});

test.each<[string, (response: ServerResponse) => void, RegExp]>([
  ["never answers", () => undefined, /nothing came in time/],
  [
    "falls silent in the middle",
    (response) => {
      response.writeHead(200);
      response.write(BLOB.subarray(0, 40_000));
    },
    /nothing came in time/,
  ],
  [
    "drips",
    (response) => {
      response.writeHead(200);
      const drip = setInterval(() => response.write("x"), 20);
      response.on("close", () => clearInterval(drip));
    },
    /too slowly/,
  ],
  ["ends early", (response) => response.end(BLOB.subarray(0, 40_000)), /ended after 40000 of 100000 bytes/],
  ["is in trouble", (response) => response.writeHead(503).end(), /answered 503/],
])("a server that %s costs a try, not the device's patience", async (_, answer, reason) => {
  let closed = false;
  once((response) => {
    response.on("close", () => {
      closed = true;
    });
    answer(response);
  });
  const failed = await download({ limits: QUICK });
  expect(failed).toMatchObject({ ok: false, error: { code: "DOWNLOAD_FAILED" } });
  expect(failed.ok ? "" : failed.error.message).toMatch(reason);
  await eventually("the connection is given up", () => closed);
  expect(await download({ limits: QUICK })).toEqual({ ok: true });
});

test("a download leaves the line to others: no more a second than it is allowed, whatever the server would send", async () => {
  const startMs = performance.now();
  // Slower than the idle timeout, which is for servers and not for our own patience.
  expect(await download({ maxBytesPerSecond: 50_000, limits: QUICK })).toEqual({ ok: true });
  expect(performance.now() - startMs).toBeGreaterThan(1_900);
  expect(readFileSync(file)).toEqual(BLOB);
});

test("a disk that takes no more costs a try", async () => {
  const { error } = (await download({ file: "/dev/full" })) as { error?: { code: string; message: string } };
  expect(error).toMatchObject({ code: "DOWNLOAD_FAILED", message: expect.stringContaining("ENOSPC") });
});

test("a download that is given up ends at once", async () => {
  const stop = new AbortController();
  server.answers.set(PATH, () => stop.abort());
  expect(await download({ signal: stop.signal })).toMatchObject({ ok: false, error: { code: "DOWNLOAD_FAILED" } });
});

test("a full disk fails the try by name", async () => {
  symlinkSync("/dev/full", file);
  const failed = await download();
  expect(failed).toMatchObject({ ok: false, error: { code: "DOWNLOAD_FAILED", message: /ENOSPC/ } });
});
