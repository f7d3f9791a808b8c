import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { digestOf } from "@bellwether/protocol/package/check.ts";
import { expect, onTestFinished, test } from "vitest";
import { type Bellwether, startBellwether } from "../kit/bellwether.ts";
import { referencesOf, slowModel, type TestPackage, testPackage, timesModel } from "../kit/packages.ts";
import { sharedModels } from "../kit/shared.ts";
import { BAD, theirModel, theirModels } from "../kit/third-party.ts";
import { UPLOADS } from "./table/models.ts";

const ANSWER_MS_MAX = 30_000;

/** Uploads like anybody with a token: files first, then the manifest. */
async function upload(server: Bellwether, { manifest, files }: TestPackage, changes: object = {}) {
  const startMs = performance.now();
  for (const bytes of Object.values(files)) {
    const headers = { "content-type": "application/octet-stream" };
    const stored = await server.call(`PUT /v1/blobs/${digestOf(bytes)}`, bytes, { headers });
    expect(stored.http).toBe(200);
  }
  const answer = await server.call(`POST /v1/models/${manifest.model}/versions`, {
    manifest: { ...manifest, files: referencesOf(files), ...changes },
  });
  return {
    http: answer.http,
    code: answer.body.code as string,
    text: answer.body.detail,
    backMs: 1_000 * Number(answer.headers.get("retry-after")),
    tookMs: performance.now() - startMs,
  };
}

/** The same as often as the server says to come back; every answer comes within half a minute. */
async function uploadPatiently(...[server, bad, changes]: Parameters<typeof upload>) {
  for (;;) {
    const answer = await upload(server, bad, changes);
    expect(answer.tookMs, bad.manifest.model).toBeLessThan(ANSWER_MS_MAX);
    if (answer.code !== "VALIDATION_BUSY") return answer;
    expect([answer.http, answer.backMs > 0]).toEqual([503, true]);
    await wait(answer.backMs);
  }
}

/** Asks /healthz all the time; what it took, and the most memory any child of the server had meanwhile. */
function watch(server: Bellwether) {
  const tookMs: number[] = [];
  let childMb = 0;
  let stopped = false;
  const loop = (async () => {
    while (!stopped) {
      const startMs = performance.now();
      expect((await server.call("GET /healthz")).http).toBe(200);
      tookMs.push(performance.now() - startMs);
      childMb = Math.max(childMb, largestChildMb(server.pid));
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  })();
  onTestFinished(async () => {
    stopped = true;
    await loop;
  });
  return {
    async stop() {
      stopped = true;
      await loop;
      tookMs.sort((a, b) => a - b);
      return { p99Ms: tookMs[Math.floor(tookMs.length * 0.99)]!, asked: tookMs.length, childMb };
    },
  };
}

function largestChildMb(pid: number): number {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim().split(" ").filter(Boolean);
  const sizes = children.map((child) => {
    try {
      return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${child}/status`, "utf8"))?.[1] ?? 0) / 1024;
    } catch {
      // It has ended between the two readings.
      return 0;
    }
  });
  return Math.max(0, ...sizes);
}

test("uploads that loop, allocate, compute without end or have 200,000 nodes are answered in time; the server stays free", async () => {
  const server = await startBellwether();
  const watched = watch(server);
  for (const [index, { attack, code, bend }] of UPLOADS.entries()) {
    const model = `attacked-${index}`;
    const good = testPackage();
    expect((await uploadPatiently(server, { ...good, manifest: { ...good.manifest, model } })).http, attack).toBe(201);
    const { package: bad = good, changes } = bend();
    const refused = await uploadPatiently(server, { ...bad, manifest: { ...bad.manifest, model } }, changes);
    expect([attack, refused.code]).toEqual([attack, code]);
    expect([400, 422]).toContain(refused.http);
    expect(refused.text).toMatch(/\.$/);
    const { items } = (await server.call(`GET /v1/models/${model}/versions`)).body;
    const valid = items.filter(({ phase }: { phase: string }) => phase !== "invalid");
    expect(valid.map(({ version }: { version: number }) => version)).toEqual([1]);
  }
  const { p99Ms, asked, childMb } = await watched.stop();
  expect(asked).toBeGreaterThan(100);
  expect(p99Ms).toBeLessThan(100);
  expect(childMb).toBeLessThan(1_024);
  // And a good one is taken after all of that, in a number that was refused before.
  const { manifest, files } = testPackage(timesModel(20), [20, 40, 60]);
  expect((await uploadPatiently(server, { manifest: { ...manifest, model: "attacked-0" }, files })).http).toBe(201);
  expect((await server.call("GET /v1/models/attacked-0")).body).toMatchObject({ versions: 2, newest: 2 });
});

test("six who upload hours of computing at once are all answered in time, the last of them with when to come back", async () => {
  const server = await startBellwether();
  const watched = watch(server);
  const all = await Promise.all(
    Array.from({ length: 6 }, (_, i) => {
      const { manifest, files } = testPackage(slowModel(2_000, 10_000));
      return upload(server, { manifest: { ...manifest, model: `bomb-${i}` }, files });
    }),
  );
  for (const { tookMs, text } of all) {
    expect(tookMs).toBeLessThan(ANSWER_MS_MAX);
    expect(text).toMatch(/\.$/);
  }
  const codes = all.map(({ code, http }) => `${http} ${code}`).toSorted();
  // The first, too, where the machine is too busy with others to tell.
  expect(codes.slice(1)).toEqual(Array.from({ length: 5 }, () => "503 VALIDATION_BUSY"));
  expect(["422 CHILD_TIME_EXCEEDED", "503 VALIDATION_BUSY"]).toContain(codes[0]);
  expect((await watched.stop()).p99Ms).toBeLessThan(100);
});

test("every bad model of others is refused by its content, and nothing of the server's disk is read for it", async () => {
  if (sharedModels("bad") === undefined) return expect(theirModels("bad")).toEqual([]);
  const server = await startBellwether();
  for (const name of theirModels("bad")) {
    const { http, code, text } = await uploadPatiently(server, testPackage(readFileSync(theirModel("bad", name))));
    expect([name, http, code]).toEqual([name, 422, BAD[name]]);
    expect(text).toMatch(/^[A-Z].*\.$/);
  }
});

test("files that are not what the manifest says, and manifests that are not what they should be", async () => {
  const server = await startBellwether();
  const one = testPackage();
  const digest = digestOf(one.files.model);
  const headers = { "content-type": "application/octet-stream" };
  const refused = async (target: string, body: unknown, more = {}) => {
    const { http, body: answer } = await server.call(target, body, more);
    return `${http} ${answer.code}`;
  };
  expect(await refused(`PUT /v1/blobs/${digest}`, Buffer.from("other bytes"), { headers })).toBe(
    "422 BLOB_DIGEST_MISMATCH",
  );
  expect(await refused("PUT /v1/blobs/..%2Fpasswd", Buffer.from("x"), { headers })).toBe("400 INVALID_PATH");
  expect(await refused(`GET /v1/blobs/${digest}`, undefined)).toBe("404 NOT_FOUND");
  const manifest = { ...one.manifest, files: referencesOf(one.files) };
  const post = (changes: object, model = "pump-rul") =>
    refused(`POST /v1/models/${model}/versions`, { manifest: { ...manifest, ...changes } });
  expect(await post({})).toBe("422 BLOB_MISSING");
  expect(await post({ model: "other" })).toBe("422 MANIFEST_WRONG");
  expect(await post({ surprise: 1 })).toBe("400 INVALID_SHAPE");
  expect(await post({ tensors: [] })).toBe("400 INVALID_SHAPE");
  const release = { changes: [{ change: "release", model: "pump-rul", version: 1 }] };
  expect(await refused("POST /v1/repository/requests", release)).toBe("404 NOT_FOUND");
  expect(await refused("PUT /v1/models/pump-rul/aliases/7", { version: 1 })).toBe("400 ALIAS_IS_NUMBER");
  expect((await server.call("GET /v1/models")).body).toEqual({ items: [] });
  // A flipped byte on the disk: what was verified when it came is verified again before it is believed.
  for (const bytes of Object.values(one.files))
    await server.call(`PUT /v1/blobs/${digestOf(bytes)}`, bytes, { headers });
  const file = join(server.dir, "blobs", "sha256", digest.slice(7, 9), digest.slice(7));
  const bytes = readFileSync(file);
  bytes[bytes.length - 1]! ^= 1;
  writeFileSync(file, bytes);
  expect(await post({})).toBe("422 BLOB_DIGEST_MISMATCH");
});
