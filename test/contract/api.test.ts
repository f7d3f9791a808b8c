import { createHash } from "node:crypto";
import { Agent, request as httpRequest } from "node:http";
import { join } from "node:path";
import Database from "better-sqlite3";
import fc from "fast-check";
import type { InjectOptions } from "fastify";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { declaredRoutes } from "../../fleet-server/src/api/routes.ts";
import { type Bellwether, startBellwether } from "../kit/bellwether.ts";
import { deviceLogin, enrol } from "../kit/device.ts";
import { suiteFolder } from "../kit/folder.ts";
import { hostileRequests } from "../kit/hostile.ts";

// A real server over real HTTP: whatever is sent, it answers below 500, and a refusal has changed nothing on its disk.
let server: Bellwether;
let db: Database.Database;
const tokens: string[] = [];
const agent = new Agent({ keepAlive: true });
const dir = suiteFolder("bellwether-api-");

beforeAll(async () => {
  server = await startBellwether({ dir, until: "caller", config: "log: error\n" });
  for (const role of ["viewer", "operator", "releaser", "approver", "admin"]) {
    const made = await server.call("POST /v1/tokens", { name: `the-${role}`, roles: [role] });
    tokens.push(made.body.secret);
  }
  const device = await enrol(server, "gw-1");
  tokens.push((await deviceLogin(server, device)).body.token);
  await server.call("PUT /v1/cohorts/canaries", { selector: "site=plant-a" });
  await server.call("POST /v1/subscribers", { account: "scada", sites: ["plant-a"] });
  db = new Database(join(dir, "fleet.sqlite"), { readonly: true });
});
afterAll(async () => {
  db.close();
  agent.destroy();
  await server.stop();
});

/** Kept apart: who called, and when, is noted of refused calls too. */
const NOTED = new Set(["audit_entries", "audit_intents", "idempotency_keys"]);

/** The digest of everything the server keeps but for its notes about calls. */
function kept(): string {
  const hash = createHash("sha256");
  const tables = db.prepare("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name").pluck().all();
  for (const table of tables as string[]) {
    if (NOTED.has(table)) continue;
    for (const row of db.prepare(`SELECT * FROM "${table}"`).all() as Record<string, unknown>[]) {
      const { last_used_at_ms: _, ...rest } = row;
      hash.update(`${table} ${JSON.stringify(rest)}\n`);
    }
  }
  return hash.digest("hex");
}

function send(options: InjectOptions): Promise<{ http: number; type: string; body: string }> {
  const { hostname, port } = new URL(server.url);
  return new Promise((resolve, reject) => {
    const { method, url, headers, payload } = options as {
      method: string;
      url: string;
      headers: object;
      payload?: Buffer;
    };
    // Node frames the body of a GET only where its length is said.
    const length = payload ? { "content-length": payload.byteLength } : {};
    const request = httpRequest({ agent, hostname, port, method, path: url, headers: { ...headers, ...length } });
    request.once("error", reject);
    request.once("response", (answer) => {
      answer.toArray().then(
        (chunks) =>
          resolve({
            http: answer.statusCode ?? 0,
            type: String(answer.headers["content-type"] ?? ""),
            body: Buffer.concat(chunks).toString(),
          }),
        reject,
      );
    });
    request.end(payload);
  });
}

describe("any request to the real server", () => {
  const names = ["gw-1", "canaries", "scada", "plant-a", "1.root.json", "start", "1"];
  it.each(declaredRoutes("0").map((route) => [`${route.method} ${route.path}`, route] as const))(
    "%s",
    async (_name, route) => {
      // Public routes are limited by address: after the burst there would be nothing but 429.
      const numRuns = route.access.includes("public") ? 8 : 40;
      let before = kept();
      await fc.assert(
        fc.asyncProperty(hostileRequests(route, tokens, names), async (request) => {
          const answer = await send(request);
          expect(answer.http, answer.body).toBeLessThan(500);
          const after = kept();
          if (answer.http >= 400) {
            expect(answer.type).toMatch(/^application\/problem\+json/);
            expect(after).toBe(before);
          }
          before = after;
        }),
        { numRuns, endOnFailure: true },
      );
    },
  );

  it("may break off midway: that is no failure of the server's", async () => {
    const { hostname, port } = new URL(server.url);
    const headers = {
      authorization: `Bearer ${server.admin}`,
      "content-type": "application/json",
      "content-length": 99,
    };
    const before = kept();
    for (const path of ["/v1/tokens", "/v1/enrolment"]) {
      const request = httpRequest({ hostname, port, method: "POST", path, headers });
      request.on("error", () => undefined);
      request.write('{"name":');
      await expect.poll(() => request.socket?.bytesWritten ?? 0).toBeGreaterThan(0);
      request.destroy();
    }
    expect(kept()).toBe(before);
  });

  it("left the server well, its audit log whole, and nothing in its log", async () => {
    expect((await server.call("GET /readyz", undefined, { token: null })).http).toBe(200);
    // Only what a first start with development keys says of them, in three lines and one.
    expect(server.log).toEqual([
      expect.stringMatching(/^WARNING: DEVELOPMENT KEYS were made/),
      expect.stringContaining("Do not use them in production."),
      expect.stringMatching(/^They are in .*-keys\.$/),
      expect.stringMatching(/^WARNING: this server's release keys are DEVELOPMENT KEYS\.$/),
    ]);
  });
});
