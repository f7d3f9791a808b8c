import { chmod, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type AuditEntry, CHAIN_START, nextEntry, verifyChain } from "@bellwether/protocol/audit.ts";
import { ok } from "@bellwether/protocol/result.ts";
import Database from "better-sqlite3";
import fc from "fast-check";
import { Type } from "typebox";
import { beforeEach, describe, expect, it } from "vitest";
import { type TestApi, testApi } from "../../../test/kit/api.ts";
import { temporaryFolder } from "../../../test/kit/folder.ts";
import { memoryRoom } from "../../../test/kit/room.ts";
import { temporaryStore } from "../../../test/kit/store.ts";
import { auditRoutes } from "../api/audit.ts";
import { defineRoute } from "../api/route.ts";
import { tokenRoutes } from "../api/tokens.ts";
import type { GovernanceStore } from "../store/governance.ts";
import { governanceCommands, governanceMigrations } from "../store/sqlite/governance.ts";
import { createAudit, createIdempotency, createTokens } from "./governance.io.ts";
import { RateLimiter, takeOne } from "./rate.ts";
import { seal, unseal } from "./seal.ts";
import { callerOf, withinSites } from "./tokens.ts";

let store: GovernanceStore;
let nowMs: number;
beforeEach(() => {
  store = memoryRoom<GovernanceStore>(governanceCommands, governanceMigrations);
  nowMs = 1_000_000;
});

async function governed(extra: Parameters<typeof testApi>[0] = []): Promise<TestApi & { admin: string }> {
  const tokens = createTokens(store);
  const made = await tokens.create({ name: "root", roles: ["admin"], createdBy: "test", nowMs });
  if (!made.ok) throw new Error(made.error.message);
  const deps = { store: { governance: store }, tokens };
  const api = await testApi([...tokenRoutes(deps), ...auditRoutes(deps), ...extra], {
    authenticate: tokens.authenticate,
    audit: await createAudit(store),
    idempotency: createIdempotency(store),
    clock: () => nowMs,
  });
  return { ...api, admin: made.value.secret };
}

describe("tokens", () => {
  it("are shown once, kept as a hash, listed without it, and end with revocation", async () => {
    const api = await governed();
    const made = await api.call(api.admin, "POST /v1/tokens", { name: "screen", roles: ["viewer"] });
    expect(made.http).toBe(201);
    const { secret, token } = made.body;
    expect(secret).toMatch(/^bwt_[\w-]{43}$/);
    const listed = await api.call(api.admin, "GET /v1/tokens");
    expect(listed.body.items.map((one: { name: string }) => one.name).toSorted()).toEqual(["root", "screen"]);
    expect(JSON.stringify(listed.body)).not.toContain(secret);
    expect((await api.call(secret, "GET /v1/tokens")).http).toBe(403);
    expect((await api.call(api.admin, `POST /v1/tokens/${token.id}/revoke`)).http).toBe(200);
    expect((await api.call(secret, "GET /v1/tokens")).http).toBe(401);
    await api.close();
  });

  it("are refused once their revocation has answered, whatever was looked up meanwhile", async () => {
    const late = Promise.withResolvers<undefined>();
    let slow = false;
    const tokens = createTokens({
      ...store,
      findToken: async (args) => {
        const found = await store.findToken(args);
        if (slow) await late.promise;
        return found;
      },
    });
    const [kept, ended] = [await made("kept"), await made("ended")];
    async function made(name: string) {
      const one = await tokens.create({ name, roles: ["admin"], createdBy: "test", nowMs });
      if (!one.ok) throw new Error(one.error.message);
      return one.value;
    }
    expect(await tokens.authenticate(kept.secret, nowMs)).toBeDefined();
    slow = true;
    const underWay = tokens.authenticate(ended.secret, nowMs);
    expect((await tokens.revoke(ended.token.id, nowMs)).ok).toBe(true);
    slow = false;
    expect(await tokens.authenticate(ended.secret, nowMs)).toBeUndefined();
    late.resolve(undefined);
    await underWay;
    expect(await tokens.authenticate(ended.secret, nowMs)).toBeUndefined();
    expect(await tokens.authenticate(kept.secret, nowMs)).toBeDefined();
  });

  it("are looked up once, and again after a revocation", async () => {
    let asked = 0;
    const tokens = createTokens({
      ...store,
      findToken: (args) => {
        asked++;
        return store.findToken(args);
      },
    });
    const [one, other] = await Promise.all(
      ["a", "b"].map((name) => tokens.create({ name, roles: ["admin"], createdBy: "test", nowMs })),
    );
    if (!one?.ok || !other?.ok) throw new Error("not made");
    for (let i = 0; i < 3; i++) expect(await tokens.authenticate(one.value.secret, nowMs)).toBeDefined();
    expect(asked).toBe(1);
    await tokens.revoke(other.value.token.id, nowMs);
    expect(await tokens.authenticate(one.value.secret, nowMs)).toBeDefined();
    expect(asked).toBe(2);
  });

  it("expire", async () => {
    const api = await governed();
    const made = await api.call(api.admin, "POST /v1/tokens", { name: "guest", roles: ["admin"], ttlSeconds: 60 });
    const ask = async () => (await api.call(made.body.secret, "GET /v1/tokens")).http;
    nowMs += 59_999;
    expect(await ask()).toBe(200);
    nowMs += 1;
    expect(await ask()).toBe(401);
    await api.close();
  });

  it("keep one admin of all sites", async () => {
    const api = await governed();
    const root = (await api.call(api.admin, "GET /v1/tokens")).body.items[0].id;
    expect(await api.call(api.admin, `POST /v1/tokens/${root}/revoke`)).toMatchObject({ http: 409 });
    await api.call(api.admin, "POST /v1/tokens", { name: "second", roles: ["admin"] });
    expect(await api.call(api.admin, `POST /v1/tokens/${root}/revoke`)).toMatchObject({ http: 200 });
    await api.close();
  });

  it("of some sites neither give nor see more than these", async () => {
    const api = await governed();
    const body = { name: "plant-a", roles: ["admin"], sites: ["a"] };
    const { secret } = (await api.call(api.admin, "POST /v1/tokens", body)).body;
    const make = async (sites?: string[]) =>
      (await api.call(secret, "POST /v1/tokens", { name: "x", roles: ["viewer"], ...(sites && { sites }) })).http;
    expect([await make(), await make(["a", "b"]), await make(["a"])]).toEqual([403, 403, 201]);
    const seen = (await api.call(secret, "GET /v1/tokens")).body.items;
    expect(seen.map((one: { name: string }) => one.name).toSorted()).toEqual(["plant-a", "x"]);
    const root = (await api.call(api.admin, "GET /v1/tokens")).body.items.find(
      (one: { name: string }) => one.name === "root",
    );
    expect((await api.call(secret, `POST /v1/tokens/${root.id}/revoke`)).http).toBe(404);
    expect((await api.call(secret, "GET /v1/audit")).http).toBe(403);
    await api.close();
  });

  it("note their last use at most once a minute", async () => {
    const tokens = createTokens(store);
    const made = await tokens.create({ name: "a", roles: ["viewer"], createdBy: "test", nowMs });
    if (!made.ok) throw new Error(made.error.message);
    const { secret, token } = made.value;
    const used = async (atMs: number) => {
      await tokens.authenticate(secret, atMs);
      return (await store.getToken({ id: token.id }))?.lastUsedAtMs;
    };
    expect(await used(nowMs)).toBe(nowMs);
    expect(await used(nowMs + 59_999)).toBe(nowMs);
    expect(await used(nowMs + 60_000)).toBe(nowMs + 60_000);
  });

  it("of the first start lie in a file only its owner may read, and are made anew when they are gone", async () => {
    const tokens = createTokens(store);
    const file = join(temporaryFolder(), "admin.token");
    expect(await tokens.ensureAdminFile(file, nowMs)).toBe(true);
    const secret = (await readFile(file, "utf8")).trim();
    expect((await stat(file)).mode & 0o777).toBe(0o600);
    await chmod(file, 0o644);
    expect(await tokens.ensureAdminFile(file, nowMs)).toBe(false);
    expect((await stat(file)).mode & 0o777).toBe(0o600);
    expect(await tokens.authenticate(secret, nowMs)).toMatchObject({ roles: ["admin"] });
    await writeFile(file, "bwt_nonsense");
    expect(await tokens.ensureAdminFile(file, nowMs)).toBe(true);
    expect((await readFile(file, "utf8")).trim()).not.toBe(secret);
  });

  it.each([
    [undefined, undefined, true],
    [undefined, ["a"], true],
    [["a"], undefined, false],
    [["a"], ["a"], true],
    [["a"], ["a", "b"], false],
    [[], [], true],
  ])("of %j hold within themselves %j: %s", (own, asked, expected) => expect(withinSites(own, asked)).toBe(expected));

  it("without a role open nothing", () => {
    const token = { id: "t", name: "n", roles: [], createdAtMs: 0, createdBy: "x", revokedAtMs: 5 };
    expect(callerOf(token, 9)).toBeUndefined();
  });
});

describe("the audit log", () => {
  it("is whole, and says where it is not", async () => {
    const api = await governed();
    for (const name of ["a", "b", "c"]) await api.call(api.admin, "POST /v1/tokens", { name, roles: ["viewer"] });
    await api.call(api.admin, "POST /v1/tokens", { name: "a", roles: ["viewer"] });
    const entries: AuditEntry[] = (await api.call(api.admin, "GET /v1/audit")).body.items;
    expect(entries.map(({ operation, http, code }) => [operation, http, code])).toEqual([
      ["createToken", 201, "OK"],
      ["createToken", 201, "OK"],
      ["createToken", 201, "OK"],
      ["createToken", 409, "CONFLICT"],
    ]);
    expect(entries[0]).toMatchObject({ seq: 1, previous: CHAIN_START, target: "POST /v1/tokens", atMs: nowMs });
    const head = (await api.call(api.admin, "GET /v1/audit/head")).body;
    expect(verifyChain(undefined, entries)).toEqual(ok(head));
    const [one, two, three, four] = entries as [AuditEntry, AuditEntry, AuditEntry, AuditEntry];
    for (const [what, forged] of Object.entries({
      changed: [one, { ...two, caller: "token:x:somebody" }, three, four],
      hole: [one, three, four],
      swapped: [two, one, three, four],
      beheaded: [two, three, four],
      rewritten: [one, nextEntry(one, two, { http: 201, code: "OK" }), nextEntry(two, one, two), four],
    }))
      expect(verifyChain(undefined, forged), what).toMatchObject({ ok: false, error: { code: "AUDIT_CHAIN_BROKEN" } });
    expect(verifyChain({ seq: two.seq, digest: two.digest }, [three, four])).toEqual(ok(head));
    await api.close();
  });

  it("pages and filters", async () => {
    const api = await governed();
    for (const name of ["a", "b", "c"]) await api.call(api.admin, "POST /v1/tokens", { name, roles: ["viewer"] });
    const first = (await api.call(api.admin, "GET /v1/audit?limit=2")).body;
    const second = (await api.call(api.admin, `GET /v1/audit?limit=2&cursor=${first.next}`)).body;
    expect([first.items.length, second.items.map((one: AuditEntry) => one.seq), second.next]).toEqual([
      2,
      [3],
      undefined,
    ]);
    expect((await api.call(api.admin, "GET /v1/audit?operation=revokeToken")).body.items).toEqual([]);
    expect((await api.call(api.admin, "GET /v1/audit?cursor=AAAA")).body.code).toBe("INVALID_CURSOR");
    await api.close();
  });

  it("stays whole in the real store under many calls at once, and survives a restart", async () => {
    const dir = temporaryFolder();
    const real = await temporaryStore(dir);
    const audit = await createAudit(real.governance);
    const call = { caller: { kind: "nobody" }, operation: "x", target: "POST /x", atMs: 5, bodyDigest: "d" } as const;
    const outcome = { http: 200, code: "OK" } as const;
    await Promise.all(
      Array.from({ length: 40 }, async (_, i) => {
        const begun = { ...call, requestId: `r${i}` };
        if (i % 2 === 0) await audit.refused(begun, outcome);
        else await audit.end(await audit.begin(begun), outcome);
      }),
    );
    await audit.begin({ ...call, requestId: "open" });
    await real.close();
    const again = await temporaryStore(dir);
    await createAudit(again.governance);
    const entries = await again.governance.listEntries({ afterSeq: 0, limit: 99 });
    expect(entries.at(-1)).toMatchObject({ seq: 41, requestId: "open", code: "OUTCOME_UNKNOWN" });
    expect(verifyChain(undefined, entries).ok).toBe(true);
  });

  it("refuses to be changed by SQL", () => {
    const db = new Database(":memory:");
    for (const sql of governanceMigrations) db.exec(sql);
    const facts = { atMs: 1, requestId: "r", caller: "c", operation: "o", target: "t", bodyDigest: "" };
    governanceCommands.addEntry.run(db, { facts, http: 200, code: "OK" });
    expect(() => db.exec("UPDATE audit_entries SET caller = 'x'")).toThrow("append-only");
    expect(() => db.exec("DELETE FROM audit_entries")).toThrow("append-only");
    db.close();
  });

  it("enters what a dying server left without an outcome", async () => {
    const audit = await createAudit(store);
    const call = { requestId: "r1", caller: { kind: "nobody" }, operation: "x", target: "POST /x", atMs: 5 } as const;
    await audit.begin({ ...call, bodyDigest: undefined });
    await createAudit(store);
    const entries = await store.listEntries({ afterSeq: 0, limit: 9 });
    expect(entries).toMatchObject([{ requestId: "r1", code: "OUTCOME_UNKNOWN", http: 0 }]);
    expect(verifyChain(undefined, entries).ok).toBe(true);
  });
});

describe("idempotency keys", () => {
  let runs = 0;
  const route = defineRoute({
    method: "POST",
    path: "/v1/orders",
    operation: "order",
    summary: "Orders.",
    role: "operator",
    body: Type.Object({ n: Type.Integer() }, { additionalProperties: false }),
    answer: Type.Object({ run: Type.Integer() }, { additionalProperties: false }),
    status: 201,
    handler: async ({ body }) => {
      if (body.n < 0) throw new Error("broken");
      runs += 1;
      return ok({ run: runs });
    },
  });
  async function ordering() {
    runs = 0;
    const api = await governed([route]);
    const order = async (key: string | undefined, n: number, token = api.admin) => {
      const answer = await api.app.inject({
        method: "POST",
        url: "/v1/orders",
        headers: { authorization: `Bearer ${token}`, ...(key === undefined ? {} : { "idempotency-key": key }) },
        payload: { n },
      });
      return [answer.statusCode, answer.json().run ?? answer.json().code, answer.headers["idempotent-replayed"]];
    };
    return { ...api, order };
  }

  it("repeat the answer, refuse another body, and end after a day", async () => {
    const api = await ordering();
    expect(await api.order("k1", 1)).toEqual([201, 1, undefined]);
    expect(await api.order("k1", 1)).toEqual([201, 1, "true"]);
    expect(await api.order("k1", 2)).toEqual([409, "IDEMPOTENCY_KEY_REUSED", undefined]);
    expect(await api.order("k2", 1)).toEqual([201, 2, undefined]);
    expect(await api.order(undefined, 1)).toEqual([201, 3, undefined]);
    nowMs += 24 * 3_600_000;
    expect(await api.order("k1", 1)).toEqual([201, 4, undefined]);
    await api.close();
  });

  it("belong to their caller", async () => {
    const api = await ordering();
    const other = (await api.call(api.admin, "POST /v1/tokens", { name: "o", roles: ["operator"] })).body.secret;
    expect(await api.order("k", 1)).toEqual([201, 1, undefined]);
    expect(await api.order("k", 1, other)).toEqual([201, 2, undefined]);
    await api.close();
  });

  it("let a call that failed inside be tried again", async () => {
    const api = await ordering();
    expect(await api.order("k", -1)).toEqual([500, "INTERNAL", undefined]);
    expect(await api.order("k", 1)).toEqual([201, 1, undefined]);
    await api.close();
  });

  it("run a call once though it comes twice at once, and say so after a crash", async () => {
    const api = await ordering();
    const answers = await Promise.all([api.order("k", 1), api.order("k", 1)]);
    expect(runs).toBe(1);
    expect(answers.map(([http]) => http).toSorted()).toContain(201);
    const key = { key: "half", token: api.admin, caller: "c", target: "POST /x", bodyDigest: "d", nowMs };
    await createIdempotency(store).begin(key);
    expect(await createIdempotency(store).begin(key)).toMatchObject({ error: { code: "IDEMPOTENCY_UNKNOWN" } });
    await api.close();
  });

  it("keep no secret in the store: an answer opens only with the caller's own token", () => {
    fc.assert(
      fc.property(fc.string(), fc.string({ minLength: 1 }), fc.string(), (text, token, key) => {
        const sealed = seal(text, token, key, new Uint8Array(12));
        expect(unseal(sealed, token, key)).toBe(text.toWellFormed());
        expect(unseal(sealed, `${token}x`, key)).toBeUndefined();
        expect(unseal(sealed.subarray(1), token, key)).toBeUndefined();
      }),
    );
  });
});

describe("the rate limit's core", () => {
  it("never lets more through than the burst and the rate together, on any clock", () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: -5000, max: 5000 }), { maxLength: 200 }), (steps) => {
        const limit = { perMinute: 60, burst: 5 };
        let atMs = 1_000_000;
        let forwardMs = 0;
        let passed = 0;
        let bucket: Parameters<typeof takeOne>[0];
        for (const step of steps) {
          atMs += step;
          forwardMs += Math.max(0, step);
          const taken = takeOne(bucket, limit, atMs);
          bucket = taken.bucket;
          if (taken.waitMs === 0) passed += 1;
        }
        expect(passed).toBeLessThanOrEqual(limit.burst + forwardMs / 1000 + 1e-6);
      }),
    );
  });

  it("says how long to wait, and is right", () => {
    const limit = { perMinute: 60, burst: 1 };
    const limiter = new RateLimiter(2);
    expect([limiter.take("a", limit, 0), limiter.take("a", limit, 400), limiter.take("a", limit, 1000)]).toEqual([
      0, 600, 0,
    ]);
  });

  it("forgets the address used longest ago", () => {
    const limit = { perMinute: 1, burst: 1 };
    const limiter = new RateLimiter(2);
    for (const key of ["a", "b", "c"]) limiter.take(key, limit, 0);
    expect(limiter.take("c", limit, 0)).toBeGreaterThan(0);
    expect(limiter.take("a", limit, 0)).toBe(0);
  });
});
