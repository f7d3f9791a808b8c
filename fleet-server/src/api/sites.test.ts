import { err, ok, unwrap } from "@bellwether/protocol/result.ts";
import { beforeEach, describe, expect, it } from "vitest";
import { type TestApi, testApi } from "../../../test/kit/api.ts";
import { memoryRoom } from "../../../test/kit/room.ts";
import { PRESENCE_RULE } from "../devices/presence.ts";
import { createTokens, type Tokens } from "../governance/governance.io.ts";
import type { Retraining } from "../retraining/job.ts";
import { createLineage } from "../retraining/lineage.io.ts";
import type { DevicesStore } from "../store/devices.ts";
import type { GovernanceStore } from "../store/governance.ts";
import { devices, devicesMigrations } from "../store/sqlite/devices.ts";
import { governanceCommands, governanceMigrations } from "../store/sqlite/governance.ts";
import { retraining, retrainingMigrations } from "../store/sqlite/retraining.ts";
import { trainingCommands, trainingMigrations } from "../store/sqlite/training.ts";
import type { Store } from "../store/store.ts";
import type { HistoryRecord, TrainingStore } from "../store/training.ts";
import { cohortRoutes } from "./cohorts.ts";
import { deviceRoutes } from "./devices.ts";
import { enrolmentRoutes } from "./enrolment.ts";
import { historyRoutes } from "./histories.ts";
import { retrainingRoutes } from "./retraining.ts";
import { declaredRoutes } from "./routes.ts";
import { subscriberRoutes } from "./subscribers.ts";
import { tokenRoutes } from "./tokens.ts";
import { trainingRoutes } from "./training.ts";

// Two sites; everything of plant-b has "secret" in its name, and no token of plant-a may ever read that word.
let store: Store;
let tokens: Tokens;
let api: TestApi;
/** What reached the rooms behind the routes. */
let done: string[];

beforeEach(async () => {
  done = [];
  store = {
    devices: memoryRoom<DevicesStore>(devices, devicesMigrations),
    governance: memoryRoom<GovernanceStore>(governanceCommands, governanceMigrations),
    training: memoryRoom<TrainingStore>(trainingCommands, trainingMigrations),
    retraining: memoryRoom<Store["retraining"]>(retraining, retrainingMigrations),
  } as Store;
  tokens = createTokens(store.governance);
  const noted = async (act: string) => {
    done.push(act);
    return err("NOT_FOUND", { what: "thing", name: act });
  };
  const deps = {
    store,
    tokens,
    rule: PRESENCE_RULE,
    kick: (name: string) => void done.push(`kick ${name}`),
    quotaOf: () => ({ isPaused: false, pauses: 0 }),
    document: async () => undefined,
    inherit: async () => undefined,
    timeKey: undefined as never,
    now: () => 1_000,
    login: undefined as never,
    mqttUrl: () => "",
    rootMetadata: async () => "",
    histories: undefined as never,
    snapshots: { create: ({ cohort }: { cohort: string }) => noted(`snapshot ${cohort}`) },
    runs: {
      start: ({ history }: { history: string }) => noted(`train ${history}`),
      get: (id: string) => store.training.getRun({ id }),
      cancel: (id: string) => noted(`cancel ${id}`),
    } as never,
    retrainings: {
      start: ({ cohort }: { cohort: string }) => noted(`retrain ${cohort}`),
      decide: (id: string) => noted(`decide ${id}`),
      progress: () => undefined,
    } as never,
  };
  api = await testApi([
    ...deviceRoutes(deps),
    ...cohortRoutes(deps),
    ...enrolmentRoutes(deps),
    ...subscriberRoutes(deps),
    ...tokenRoutes(deps),
    ...historyRoutes(deps),
    ...trainingRoutes(deps),
    ...retrainingRoutes(deps),
  ]);
  for (const site of ["a", "b"]) {
    const rest = { labels: { line: "1" }, serials: null, preapproved: true, usesLeft: 9, expiresAtMs: 9e12 };
    const token = { id: `e-${secretly(site)}`, site: plant(site), createdAtMs: 0, createdBy: "t", revoked: false };
    unwrap(await store.devices.addEnrolmentToken({ hash: site, token: { ...rest, ...token } }));
    const facts = { serial: null, publicHex: site, nowMs: 0, reference: "" };
    unwrap(await store.devices.enrol({ hash: site, device: `gw-${secretly(site)}`, ...facts }));
    await put(`all-${secretly(site)}`, `site=${plant(site)}`);
    for (const cohort of [`all-${secretly(site)}`, "line-1"]) {
      await addHistory(`h-${cohort}-${secretly(site)}`, cohort === "line-1" ? "line=1" : `site=${plant(site)}`, site);
    }
    await addJob(`j-${secretly(site)}`, `all-${secretly(site)}`);
    await policy(`all-${secretly(site)}`);
    await api.call("admin", "POST /v1/subscribers", { account: `scada-${secretly(site)}`, sites: [plant(site)] });
  }
  await put("line-1", "line=1");
  await addJob("j-line-secret", "line-1");
  await policy("line-1");
  return () => api.close();
});

const plant = (site: string) => (site === "b" ? "plant-secret" : "plant-a");
const secretly = (site: string) => (site === "b" ? "secret" : "mine");
const put = async (cohort: string, selector: string) =>
  expect((await api.call("admin", `PUT /v1/cohorts/${cohort}`, { selector })).http).toBe(200);
const policy = (cohort: string) => api.call("admin", `PUT /v1/retraining-policies/m/${cohort}`, {});

async function addJob(id: string, cohort: string): Promise<void> {
  const champion = { version: 1, digest: "d", run: "r" };
  const none = { history: null, result: null, version: null, digest: null, approvedBy: null, rolloutId: null };
  const terms = { mode: "propose" as const, rollout: {}, trigger: "asked" as const };
  const holdoutAssets = [`pump-${id.slice(2)}`];
  const times = { sinceMs: null, cutOffMs: 1, knownAtMs: 1, createdAtMs: 1, updatedAtMs: 1 };
  const job: Retraining = {
    ...{ id, model: "m", cohort, ...terms, holdoutAssets, phase: "proposed", ...times },
    ...{ labelledAssets: 3, champion, ...none, error: null, createdBy: "t" },
  };
  unwrap(await store.retraining.add({ retraining: job }));
}

/** A history of a cohort's own samples, and a run that learnt from it. */
async function addHistory(id: string, selector: string, site: string): Promise<void> {
  const fleet = { cohort: "c", selector, devices: [`gw-${secretly(site)}`], model: "m", channels: [] };
  const counts = { rows: 0, assets: 0, failures: 0, assetsWithoutFailure: 0, fromMs: 0, toMs: 0, timeKind: "iso" };
  const found = { ambiguousTimes: 0, gaps: 0, largestGaps: [], duplicates: 0, contradictions: 0, outOfOrder: 0 };
  const report = { ...counts, timeZone: null, intervalMs: null, ...found, channels: [], ignored: [], target: null };
  const history: HistoryRecord = {
    ...{ id, label: null, snapshot: digestOf(id), bytes: 1, createdAtMs: 1, createdBy: "t" },
    ...{ request: { fleet: { ...fleet, cutOffMs: 1, knownAtMs: 1 } }, report: { ...report, warnings: [] } },
  };
  unwrap(await store.training.addHistory(history));
  const request = { history: id, model: "m", target: { kind: "rul" as const, cap: 9 } };
  const nothing = { progress: null, summary: null, result: null, error: null, startedAtMs: null, endedAtMs: null };
  const run = { id: `r-${id}`, history: id, request, phase: "queued" as const, ...nothing };
  unwrap(await store.training.addRun({ run: { ...run, createdAtMs: 1, createdBy: "t" }, waitingMax: 99 }));
}
const digestOf = (text: string) => `sha256:${Buffer.from(text).toString("hex").padStart(64, "0").slice(-64)}`;

const HERE = "admin@plant-a";

describe("a token of one site", () => {
  it.each([
    ["/v1/devices", 1],
    ["/v1/cohorts", 2],
    ["/v1/enrolment-tokens", 1],
    ["/v1/subscribers", 1],
    ["/v1/histories", 1],
    ["/v1/training-runs", 1],
    ["/v1/retraining-policies", 1],
    ["/v1/retrainings", 1],
  ])("reads of %s what is of its site, and no word of anything else", async (path, count) => {
    const { http, body } = await api.call(HERE, `GET ${path}`);
    expect([http, body.items.length]).toEqual([200, count]);
    expect(JSON.stringify(body)).not.toContain("secret");
    expect(JSON.stringify((await api.call("admin", `GET ${path}`)).body)).toContain("secret");
  });

  it.each([
    ["GET /v1/devices/{}", "gw-secret"],
    ["DELETE /v1/cohorts/{}", "all-secret"],
    ["POST /v1/enrolment-tokens/{}/revoke", "e-secret"],
    ["POST /v1/subscribers/{}/revoke", "scada-secret"],
    ["GET /v1/histories/{}", "h-line-1-secret"],
    ["DELETE /v1/histories/{}", "h-all-secret-secret"],
    ["GET /v1/training-runs/{}", "r-h-line-1-mine"],
    ["GET /v1/training-runs/{}/events", "r-h-all-secret-secret"],
    ["POST /v1/training-runs/{}/cancel", "r-h-all-secret-secret"],
    ["DELETE /v1/retraining-policies/m/{}", "all-secret"],
    ["PUT /v1/retraining-policies/m/{}", "all-secret", {}],
    ["GET /v1/retrainings/{}", "j-secret"],
    ["GET /v1/retrainings/{}", "j-line-secret"],
    ["POST /v1/retrainings/{}/approve", "j-line-secret"],
    ["POST /v1/retrainings", "all-secret", { model: "m", cohort: "{}" }],
    ["POST /v1/snapshots", "all-secret", { model: "m", cohort: "{}" }],
    ["POST /v1/training-runs", "h-line-1-secret", { history: "{}", model: "m", target: { kind: "rul", cap: 9 } }],
  ])("finds in %s the same of %s as of what never was, and changes nothing", async (target, name, body?: object) => {
    const ask = async (what: string) => {
      const text = body && JSON.stringify(body).replace('"{}"', `"${what}"`);
      const answer = await api.call(HERE, target.replace("{}", what), text && JSON.parse(text));
      return { http: answer.http, code: answer.body.code, detail: answer.body.detail.replaceAll(what, "X") };
    };
    const answer = await ask(name);
    expect(answer).toMatchObject({ http: 404, code: "NOT_FOUND" });
    expect(answer).toEqual(await ask("nothing-like-it"));
    expect(done).toEqual([]);
  });

  it.each([
    ["PUT /v1/cohorts/new", { selector: "line=1" }],
    ["PUT /v1/cohorts/new", { selector: "" }],
    ["PUT /v1/cohorts/new", { selector: "site in (plant-a,plant-z)" }],
    ["PUT /v1/cohorts/new", { selector: "site!=plant-z" }],
    ["DELETE /v1/cohorts/line-1", undefined],
    ["PUT /v1/retraining-policies/m/line-1", {}],
    ["POST /v1/retrainings", { model: "m", cohort: "line-1" }],
    ["POST /v1/snapshots", { model: "m", cohort: "line-1" }],
  ])("is refused %s %j, which could reach another site", async (target, body) => {
    const before = (await api.call("admin", "GET /v1/cohorts")).body;
    expect(await api.call(HERE, target, body)).toMatchObject({ http: 403, body: { code: "FORBIDDEN" } });
    expect((await api.call("admin", "GET /v1/cohorts")).body).toEqual(before);
    expect(done).toEqual([]);
  });

  it("names, changes and uses cohorts that name its site themselves", async () => {
    const own = { selector: "line=1,site=plant-a" };
    expect(await api.call(HERE, "PUT /v1/cohorts/own", own)).toMatchObject({ http: 200, body: { devices: 1 } });
    expect((await api.call(HERE, "PUT /v1/cohorts/own", { selector: "site in (plant-a)" })).http).toBe(200);
    for (const taken of ["line-1", "all-secret"])
      expect(await api.call(HERE, `PUT /v1/cohorts/${taken}`, own)).toMatchObject({ http: 409 });
    expect((await api.call(HERE, "PUT /v1/retraining-policies/m/own", {})).http).toBe(200);
    await api.call(HERE, "POST /v1/snapshots", { model: "m", cohort: "own" });
    await api.call(HERE, "POST /v1/retrainings", { model: "m", cohort: "own" });
    await api.call(HERE, "POST /v1/retrainings/j-mine/approve");
    await api.call(HERE, "POST /v1/training-runs", {
      history: "h-all-mine-mine",
      model: "m",
      target: { kind: "rul", cap: 9 },
    });
    expect(done).toEqual(["snapshot own", "retrain own", "decide j-mine", "train h-all-mine-mine"]);
    expect((await api.call(HERE, "DELETE /v1/cohorts/own")).http).toBe(204);
  });

  it("follows a prediction of its own back to data of the whole fleet, without the names of others' devices", async () => {
    await addHistory("h-both-secret", "line=1", "b");
    const history = (await store.training.findHistory({ name: "h-both-secret" }))!;
    const both = ["gw-mine", "gw-secret"];
    const request = "fleet" in history.request ? { fleet: { ...history.request.fleet, devices: both } } : {};
    const version = { version: 2, phase: "valid", createdAtMs: 1, createdBy: "t" };
    const lineage = createLineage({
      store: {
        ...store,
        ingest: { predictions: async () => [{ id: 7, device: "gw-mine", record: { model: "m", digest: "d" } }] },
        registry: { findDigest: async () => ({ ...version, manifest: { lineage: { trainer: "t", snapshot: "h" } } }) },
        training: { ...store.training, findHistory: async () => ({ ...history, id: "h", label: null, request }) },
      } as never as Store,
      releasedFor: () => undefined,
      publishedBy: () => undefined,
    });
    const of = async (sites?: string[]) => unwrap(await lineage.of(7, sites)).snapshots[0]!.request;
    expect(await of()).toMatchObject({ fleet: { devices: both } });
    expect(await of(["plant-a"])).toMatchObject({ fleet: { devices: ["gw-mine"] } });
  });

  it("reads whole pages of tokens, whatever stands between its own", async () => {
    for (let n = 0; n < 30; n++) {
      const sites = n % 10 === 0 ? ["plant-a"] : ["plant-secret"];
      await tokens.create({ name: `t${n}`, roles: ["viewer"], sites, createdBy: "t", nowMs: 0 });
    }
    const own = new Set((await api.call(HERE, "GET /v1/tokens")).body.items.map(({ id }: { id: string }) => id));
    expect(own.size).toBe(3);
    const first = (await api.call(HERE, "GET /v1/tokens?limit=2")).body;
    expect(first.items).toHaveLength(2);
    const { afterId } = JSON.parse(Buffer.from(first.next, "base64url").toString());
    expect(own).toContain(afterId);
    const second = (await api.call(HERE, `GET /v1/tokens?limit=2&cursor=${first.next}`)).body;
    expect(second).toEqual({ items: [expect.objectContaining({ sites: ["plant-a"] })] });
  });

  it("has no say over what is the whole fleet's", async () => {
    const about = declaredRoutes("0").filter(({ wholeFleet }) => wholeFleet);
    expect(about.map(({ operation }) => operation).toSorted()).toEqual([
      ...["deleteModelAlias", "listAuditEntries", "publishRelease", "releaseModelVersionForCohort", "requestRelease"],
      ...["setModelAlias", "showAuditHead", "showRestore", "withdrawModelVersion"],
    ]);
    const reached = about.map((route) => ({ ...route, handler: async () => ok(undefined) }));
    const fleet = await testApi(reached, { checkAnswers: false });
    for (const { method, path, access } of about) {
      const target = `${method} ${path.replaceAll(/:\w+/g, "1")}`;
      const answer = await fleet.call(HERE, target);
      expect(answer).toMatchObject({
        http: 403,
        body: { detail: expect.stringContaining(`${access[0]} of all sites`) },
      });
      expect((await fleet.call("admin", target)).http, target).not.toBe(403);
    }
    await fleet.close();
  });
});

describe("a list of histories", () => {
  it("goes on after one that was removed meanwhile", async () => {
    const list = async (query: string) => {
      const { items, next } = (await api.call("admin", `GET /v1/histories?${query}`)).body;
      return { ids: items.map(({ id }: { id: string }) => id), next };
    };
    const [known] = await store.training.listHistories({ limit: 1 });
    for (const id of ["h-1", "h-2", "h-3"])
      unwrap(await store.training.addHistory({ ...known!, id, snapshot: digestOf(id), createdAtMs: 0 }));
    const { ids, next } = await list("limit=5");
    expect(ids.at(-1)).toBe("h-3");
    unwrap(await store.training.removeHistory({ id: "h-3" }));
    expect((await list(`cursor=${next}`)).ids).toEqual(["h-2", "h-1"]);
  });
});
