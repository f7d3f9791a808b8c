import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { createServer, get } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { roleSpawner } from "@bellwether/protocol/process/roles.io.ts";
import { DIRECT } from "@bellwether/protocol/tls/transport.ts";
import type { MetadataAnswer, MetadataRequest } from "../../../agent/src/update/metadata.worker.ts";
import { startBellwether } from "../../kit/bellwether.ts";
import type { Bench } from "../bench.ts";

const REQUESTS_MAX = 2;

/** A refresh of the release metadata that finds nothing new. */
export const updateNoop: Bench = {
  what: `bytes a device is answered when it refreshes the release metadata and nothing has changed, in at most ${REQUESTS_MAX} requests`,
  over: "the file that says that nothing changed, alone (timestamp.json)",
  unit: "bytes",
  goal: { of: "value", most: 700 },
  open,
};

async function open() {
  const folder = mkdtempSync(join(tmpdir(), "bellwether-bench-"));
  const dir = join(folder, "server");
  mkdirSync(dir);
  const server = await startBellwether({ dir, until: "caller" });
  const counted = await countingProxy(server.url);
  const root = await server.call("GET /v1/repository/metadata/1.root.json");
  const request: MetadataRequest = {
    dir: join(folder, "tuf"),
    metadataUrl: `${counted.url}/v1/repository/metadata`,
    token: server.admin,
    transport: DIRECT,
    rootMetadata: JSON.stringify(root.body),
    nowMs: Date.now(),
    targets: ["director.json"],
  };
  await refresh(request);
  return {
    async value() {
      counted.answers.length = 0;
      await refresh(request);
      const { answers } = counted;
      process.stderr.write(`  ${answers.map(({ path, bytes }) => `${path} ${bytes}`).join(", ")}\n`);
      if (answers.length > REQUESTS_MAX) throw new Error(`an unchanged refresh took ${answers.length} requests`);
      return answers.reduce((sum, { bytes }) => sum + bytes, 0);
    },
    async baseline() {
      const { body } = await server.call("GET /v1/repository/metadata/timestamp.json");
      return Buffer.byteLength(JSON.stringify(body));
    },
    async close() {
      counted.close();
      await server.stop();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** One refresh as the updater has it: in a worker of its own, which ends with the answer. */
async function refresh(request: MetadataRequest): Promise<void> {
  const spawner = roleSpawner<"metadata">(new URL("../../../agent/src/main.ts", import.meta.url));
  const worker = spawner.worker("metadata", request);
  const answer = await new Promise<MetadataAnswer>((resolve, reject) => {
    worker.once("message", resolve);
    worker.once("error", reject);
  });
  if (!answer.ok) throw new Error(answer.problem.message);
}

/** Passes requests on, and notes how long each answer was. */
async function countingProxy(target: string) {
  const answers: { path: string; bytes: number }[] = [];
  const proxy = createServer(({ url = "/", headers }, response) => {
    const noted = { path: url.slice(url.lastIndexOf("/") + 1), bytes: 0 };
    answers.push(noted);
    get(new URL(url, target), { headers }, (answer) => {
      response.writeHead(answer.statusCode ?? 502, answer.headers);
      answer.on("data", (part: Buffer) => {
        noted.bytes += part.byteLength;
      });
      answer.pipe(response);
    }).on("error", () => response.destroy());
  });
  await new Promise<void>((resolve) => proxy.listen(0, "127.0.0.1", resolve));
  const close = () => {
    proxy.close();
    proxy.closeAllConnections();
  };
  return { url: `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`, answers, close };
}
