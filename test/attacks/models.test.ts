import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { MessageWriter } from "@bellwether/protocol/onnx/protobuf.ts";
import { digestOf } from "@bellwether/protocol/package/check.ts";
import { expect, onTestFinished, test } from "vitest";
import { type Bellwether, startBellwether } from "../kit/bellwether.ts";
import { hungryModel, modelOf, referencesOf, slowModel, type TestPackage, testPackage } from "../kit/packages.ts";
import { sharedModels } from "../kit/shared.ts";
import { theirModel, theirModels } from "../kit/third-party.ts";

/** Uploads like anybody with a token: files first, then the manifest. */
async function upload(server: Bellwether, { manifest, files }: TestPackage) {
  const startMs = performance.now();
  for (const bytes of Object.values(files)) {
    const headers = { "content-type": "application/octet-stream" };
    const stored = await server.call(`PUT /v1/blobs/${digestOf(bytes)}`, bytes, { headers });
    expect(stored.http).toBe(200);
  }
  const answer = await server.call(`POST /v1/models/${manifest.model}/versions`, {
    manifest: { ...manifest, files: referencesOf(files) },
  });
  return {
    http: answer.http,
    code: answer.body.code as string,
    text: answer.body.detail,
    tookMs: performance.now() - startMs,
  };
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

/** 200,000 nodes, as bytes that ONNX Runtime would take. */
function manyNodes(): Uint8Array {
  const node = { operator: "Identity", domain: "", attributes: {} };
  return modelOf({
    nodes: Array.from({ length: 200_000 }, (_, i) => ({
      ...node,
      inputs: [i === 0 ? "in" : `v${i}`],
      outputs: [i === 199_999 ? "out" : `v${i + 1}`],
    })),
    constants: [],
  });
}

/** A Loop whose condition is always true and whose trip count is left out: it never ends. */
function endlessLoop(): Uint8Array {
  const value = (name: string, type: number, dims: string[]) => (into: MessageWriter) =>
    void into.text(1, name).message(2, (kind) =>
      kind.message(1, (tensor) =>
        tensor.integer(1, type).message(2, (shape) => {
          for (const dim of dims) shape.message(1, (one) => void one.text(2, dim));
        }),
      ),
    );
  const file = new MessageWriter().integer(1, 8);
  file.message(7, (graph) => {
    graph.message(1, (node) => {
      node.text(1, "").text(1, "").text(1, "in").text(2, "out").text(4, "Loop");
      node.message(5, (attribute) =>
        attribute
          .text(1, "body")
          .integer(20, 5)
          .message(6, (body) => {
            body.message(1, (inner) => void inner.text(1, "go").text(2, "on").text(4, "Identity"));
            body.message(1, (inner) => void inner.text(1, "x").text(2, "y").text(4, "Identity"));
            body
              .message(11, value("n", 7, []))
              .message(11, value("go", 9, []))
              .message(11, value("x", 1, ["b", "c"]));
            body.message(12, value("on", 9, [])).message(12, value("y", 1, ["b", "c"]));
          }),
      );
    });
    graph.message(11, value("in", 1, ["batch", "one"])).message(12, value("out", 1, ["batch", "one"]));
  });
  file.message(8, (opset) => void opset.text(1, "").integer(2, 17));
  return file.finish();
}

test("uploads that loop, allocate, compute without end or have 200,000 nodes are answered in time; the server stays free", async () => {
  const server = await startBellwether();
  const watched = watch(server);
  const outcomes: Record<string, string> = {};
  const bombs: [string, TestPackage][] = [
    ["an endless loop", testPackage(endlessLoop())],
    ["200,000 nodes", testPackage(manyNodes())],
    ["2 GB at once", testPackage(hungryModel(500_000_000))],
    ["1.2 GB at once", testPackage(hungryModel(300_000_000))],
    ["hours of computing", testPackage(slowModel(2_000, 10_000))],
    ["a promise it does not keep", testPackage(undefined, [1, 2, 3])],
  ];
  for (const [name, bomb] of bombs) {
    const { http, code, text, tookMs } = await upload(server, bomb);
    expect(http).toBe(422);
    expect(tookMs, name).toBeLessThan(30_000);
    expect(text).toMatch(/\.$/);
    outcomes[name] = code;
  }
  expect(outcomes).toEqual({
    "an endless loop": "ONNX_LOOP_REFUSED",
    "200,000 nodes": "ONNX_TOO_MANY_NODES",
    "2 GB at once": "CHILD_MEMORY_EXCEEDED",
    "1.2 GB at once": "CHILD_MEMORY_EXCEEDED",
    "hours of computing": "CHILD_TIME_EXCEEDED",
    "a promise it does not keep": "GOLDEN_MISMATCH",
  });
  const { p99Ms, asked, childMb } = await watched.stop();
  expect(asked).toBeGreaterThan(100);
  expect(p99Ms).toBeLessThan(100);
  expect(childMb).toBeLessThan(1_024);
  // And a good one is taken after all of that, in the number that was refused before.
  expect((await upload(server, testPackage())).http).toBe(201);
  expect((await server.call("GET /v1/models/pump-rul")).body).toMatchObject({ versions: 1, newest: 1 });
}, 120_000);

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
    expect(tookMs).toBeLessThan(30_000);
    expect(text).toMatch(/\.$/);
  }
  const codes = all.map(({ code, http }) => `${http} ${code}`).toSorted();
  expect(codes).toEqual(["422 CHILD_TIME_EXCEEDED", ...Array.from({ length: 5 }, () => "503 VALIDATION_BUSY")]);
  expect((await watched.stop()).p99Ms).toBeLessThan(100);
}, 120_000);

test("every bad model of others is refused by its content, and nothing of the server's disk is read for it", async () => {
  if (sharedModels("bad") === undefined) return expect(theirModels("bad")).toEqual([]);
  const server = await startBellwether();
  const codes = new Set<string>();
  for (const name of theirModels("bad")) {
    const { http, code } = await upload(server, testPackage(readFileSync(theirModel("bad", name))));
    expect(http).toBe(422);
    codes.add(code);
  }
  expect(codes.size).toBeGreaterThanOrEqual(5);
  expect([...codes].every((code) => code.startsWith("ONNX_"))).toBe(true);
}, 120_000);

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
}, 60_000);
