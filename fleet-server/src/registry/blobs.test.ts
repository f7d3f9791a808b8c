import { readdirSync, utimesSync } from "node:fs";
import { join } from "node:path";
import { digestOf } from "@bellwether/protocol/package/check.ts";
import { expect, test } from "vitest";
import { temporaryFolder } from "../../../test/kit/folder.ts";
import { openBlobs } from "./blobs.io.ts";

const bytes = Buffer.from("a blob of some length");
const digest = digestOf(bytes);
async function* pieces(all: Uint8Array, size = 5): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < all.length; at += size) yield all.subarray(at, at + size);
}
const files = (dir: string) =>
  (readdirSync(dir, { recursive: true, withFileTypes: true }) as { isFile(): boolean; name: string }[])
    .filter((entry) => entry.isFile())
    .map(({ name }) => name);

test("a blob is kept under its digest, and read whole or in part", async () => {
  const dir = temporaryFolder();
  const blobs = await openBlobs(dir);
  expect(await blobs.length(digest)).toBeUndefined();
  expect(await blobs.put(digest, pieces(bytes))).toEqual({ ok: true, value: { length: bytes.length } });
  expect(await blobs.put(digest, pieces(bytes))).toMatchObject({ ok: true });
  expect(await blobs.length(digest)).toBe(bytes.length);
  expect(Buffer.concat(await blobs.open(digest, 2, 5).toArray()).toString()).toBe("blob");
  expect(files(dir)).toEqual([digest.slice(7)]);
});

test("bytes of another digest leave nothing", async () => {
  const dir = temporaryFolder();
  const blobs = await openBlobs(dir);
  const other = digestOf(Buffer.from("other"));
  expect(await blobs.put(other, pieces(bytes))).toMatchObject({
    error: { code: "BLOB_DIGEST_MISMATCH", detail: { actual: digest, expected: other } },
  });
  expect(files(dir)).toEqual([]);
});

test("a sender that goes away leaves nothing, nor does a crash", async () => {
  const dir = temporaryFolder();
  const blobs = await openBlobs(dir);
  async function* broken(): AsyncGenerator<Uint8Array> {
    yield bytes;
    throw new Error("gone");
  }
  await expect(blobs.put(digest, broken())).rejects.toThrow("gone");
  expect(files(dir)).toEqual([]);
  let reached = false;
  let finish = () => {};
  const held = new Promise<void>((resolve) => {
    finish = resolve;
  });
  async function* slow(): AsyncGenerator<Uint8Array> {
    yield bytes;
    reached = true;
    await held;
  }
  const under = blobs.put(digest, slow());
  await expect.poll(() => reached).toBe(true);
  await expect.poll(() => files(dir)).toHaveLength(1);
  // Another life of the server starts over what this one was writing.
  await openBlobs(dir);
  expect(files(dir)).toEqual([]);
  finish();
  await expect(under).rejects.toThrow("ENOENT");
});

test("old blobs that nothing names are removed, young ones are not", async () => {
  const blobs = await openBlobs(temporaryFolder());
  const all = ["kept", "old", "young"].map((text) => Buffer.from(text));
  for (const one of all) await blobs.put(digestOf(one), pieces(one));
  const [kept, old, young] = all.map(digestOf) as [string, string, string];
  for (const one of [kept, old]) utimesSync(blobs.path(one), 1, 1);
  expect(await blobs.removeExcept(new Set([kept]), 60_000)).toBe(1);
  expect(await Promise.all([kept, old, young].map((one) => blobs.length(one)))).toEqual([4, undefined, 5]);
});

test("a name that is no digest never becomes a path", async () => {
  const blobs = await openBlobs(temporaryFolder());
  expect(() => blobs.path("../../etc/passwd")).toThrow(/no digest/);
  expect(() => blobs.path(join("sha256:", ".."))).toThrow(/no digest/);
});
