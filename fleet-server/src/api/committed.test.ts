import { encodeBatch } from "@bellwether/protocol/batch.ts";
import type { Stream, StreamBatch } from "@bellwether/protocol/messages/stream.ts";
import { beforeEach, describe, expect, it } from "vitest";
import { type TestApi, testApi } from "../../../test/kit/api.ts";
import { commitTogether } from "../../../test/kit/ingest.ts";
import { temporaryStore } from "../../../test/kit/store.ts";
import type { Store } from "../store/store.ts";
import { sampleRoutes } from "./samples.ts";
import { subscriberRoutes } from "./subscribers.ts";

const EPOCH = "00000000000000aa";
const T0 = Date.UTC(2026, 0, 1);
const digest = `sha256:${"a".repeat(64)}`;

let store: Store;
let api: TestApi;
const kicked: string[] = [];
beforeEach(async () => {
  store = await temporaryStore();
  kicked.length = 0;
  const routes = [
    ...sampleRoutes({ store }),
    ...subscriberRoutes({ store, kick: (account) => void kicked.push(account) }),
  ];
  api = await testApi(routes);
  return () => api.close();
});

async function commit(
  stream: Stream,
  fromSeq: number,
  records: readonly unknown[],
  at: { device?: string; site?: string; synced?: boolean } = {},
): Promise<void> {
  const { device = "gw-1", site = "plant-a", synced = true } = at;
  const clock = { bootId: "b", monoMs: 0, wallMs: T0, clockSynced: synced };
  const batch = { v: 1, epoch: EPOCH, stream, fromSeq, records, hist: false, clock } as StreamBatch;
  const bytes = encodeBatch(batch);
  const [answer] = await commitTogether(store.ingest.commit, [
    { device, site, stream, bytes, receivedAtMs: T0 + 7_000 },
  ]);
  expect(answer?.outcome).toBe("committed");
}

const row = (n: number, values: Record<string, number | null>, more: object = {}) => ({
  asset: `pump-${n % 2}`,
  observedAtMs: T0 + n * 1_000,
  values,
  ...more,
});
const prediction = (n: number, more: object = {}) => ({
  asset: `pump-${n % 2}`,
  observedAtMs: T0 + n,
  model: "rul",
  version: 1,
  digest,
  value: n,
  ...more,
});

async function lines(target: string, token = "viewer") {
  const answer = await api.call(token, `GET ${target}`);
  expect(answer.http).toBe(200);
  return (answer.body as string).split("\n").filter((line) => line !== "");
}

describe("dead letters", () => {
  const keep = (kind: string, bytes: Uint8Array, site = "plant-a") =>
    store.ingest.keepDeadLetter({ device: "gw-1", site, kind, code: "X", message: "why", bytes, atMs: T0 });

  it("are shown with their bytes, and taken again where they can be understood now", async () => {
    const clock = { bootId: "b", monoMs: 0, wallMs: T0, clockSynced: true };
    const records = [row(1, { vib: 1 }), row(2, { vib: 2 })];
    const batch = { v: 1, epoch: EPOCH, stream: "telemetry", fromSeq: 1, records, hist: false, clock } as StreamBatch;
    const bytes = encodeBatch(batch);
    await keep("telemetry", bytes);
    const { body } = await api.call("viewer", "GET /v1/dead-letters/1");
    expect(body).toMatchObject({ id: 1, device: "gw-1", stream: "telemetry", code: "X", message: "why", atMs: T0 });
    expect(Buffer.from(body.bytesBase64, "base64").equals(bytes)).toBe(true);
    expect((await api.call("viewer", "POST /v1/dead-letters/1/replay")).http).toBe(403);
    const replayed = await api.call("operator", "POST /v1/dead-letters/1/replay");
    expect([replayed.http, replayed.body]).toEqual([200, { id: 1, records: 2 }]);
    expect((await lines("/v1/samples")).map((line) => JSON.parse(line).values.vib)).toEqual([1, 2]);
    expect((await api.call("viewer", "GET /v1/dead-letters")).body.items).toEqual([]);
    expect((await api.call("operator", "POST /v1/dead-letters/1/replay")).http).toBe(404);
  });

  it("that cannot be taken say why; those of another site are not there", async () => {
    await keep("telemetry", Buffer.from("noise"));
    await keep("state", Buffer.from("{}"));
    await keep("telemetry", Buffer.from("noise"), "plant-b");
    for (const [id, reason] of [
      [1, "still cannot be read"],
      [2, "a moment that has passed"],
    ] as const) {
      const { http, body } = await api.call("operator", `POST /v1/dead-letters/${id}/replay`);
      expect([http, body.code]).toEqual([409, "DEAD_LETTER_NOT_REPLAYABLE"]);
      expect(body.detail ?? body.title).toContain(reason);
    }
    await keep("telemetry", Buffer.from("more noise"), "plant-b");
    for (const call of ["GET /v1/dead-letters/3", "POST /v1/dead-letters/3/replay"]) {
      expect((await api.call("operator@plant-a", call)).http).toBe(404);
    }
  });
});

describe("samples", () => {
  it("are given back exactly, in the order of seq, with device time and corrected time", async () => {
    const odd = [0.1 + 0.2, -1e-300, 2 ** 53, 1.7976931348623157e308, 5e-324];
    await commit("telemetry", 3, [row(3, { vib: odd[3] as number, t: odd[4] as number })], { synced: false });
    await commit("telemetry", 1, [
      row(1, { vib: odd[0] as number, t: null }, { quality: { t: "bad" } }),
      row(2, { vib: odd[1] as number, t: odd[2] as number }),
    ]);
    const rows = (await lines("/v1/samples")).map((line) => JSON.parse(line));
    expect(rows.map(({ seq }) => seq)).toEqual([1, 2, 3]);
    expect(rows.flatMap(({ values }) => [values.vib, values.t])).toEqual([
      odd[0],
      null,
      odd[1],
      odd[2],
      odd[3],
      odd[4],
    ]);
    expect(rows[0]).toMatchObject({ device: "gw-1", epoch: 1, asset: "pump-1", quality: { t: "bad" }, hist: false });
    expect(rows.map(({ observedAtMs, correctedAtMs }) => correctedAtMs - observedAtMs)).toEqual([0, 0, 7_000]);
  });

  it("come by device, asset and time; the end of the span is left out", async () => {
    await commit(
      "telemetry",
      1,
      Array.from({ length: 10 }, (_, n) => row(n, { vib: n })),
    );
    await commit("telemetry", 1, [row(0, { vib: 99 })], { device: "gw-2" });
    const vibs = async (query: string) =>
      (await lines(`/v1/samples?${query}`)).map((line) => JSON.parse(line).values.vib);
    expect(await vibs("device=gw-2")).toEqual([99]);
    expect(await vibs("device=gw-1&asset=pump-1")).toEqual([1, 3, 5, 7, 9]);
    expect(await vibs(`asset=pump-0&fromMs=${T0 + 2_000}&toMs=${T0 + 6_000}`)).toEqual([2, 4]);
    expect(await vibs("asset=pump-7")).toEqual([]);
  });

  it("come as CSV, one line per value", async () => {
    await commit("telemetry", 1, [row(1, { vib: 0.1, t: null }, { quality: { t: "bad" } })]);
    expect(await lines("/v1/samples?format=csv")).toEqual([
      "device,asset,time,channel,value,quality,epoch,seq",
      "gw-1,pump-1,2026-01-01T00:00:01.000Z,vib,0.1,good,1,1",
      "gw-1,pump-1,2026-01-01T00:00:01.000Z,t,,bad,1,1",
    ]);
  });

  it("of any number leave in one answer", async () => {
    for (let n = 0; n < 130; n++) await commit("telemetry", n + 1, [row(n, { vib: n })]);
    expect((await lines("/v1/samples")).map((line) => JSON.parse(line).seq)).toEqual(
      Array.from({ length: 130 }, (_, n) => n + 1),
    );
  });

  it("go on after any row that was read before", async () => {
    const numbers = (from: number, count: number) => Array.from({ length: count }, (_, i) => row(from + i, { vib: i }));
    // Holes between batches, several devices, and a page's end (50 batches) among them.
    for (let n = 0; n < 60; n++) await commit("telemetry", 5 * n + 1, numbers(5 * n, 1 + (n % 4)));
    await commit("telemetry", 7, numbers(7, 3), { device: "gw-2" });
    const whole = await lines("/v1/samples");
    const places = whole.map((line) => JSON.parse(line) as { device: string; epoch: number; seq: number });
    for (const at of [0, 1, 2, 3, 70, 123, whole.length - 4, whole.length - 3, whole.length - 2, whole.length - 1]) {
      const { device, epoch, seq } = places[at]!;
      expect(await lines(`/v1/samples?after=${device}/${epoch}/${seq}`)).toEqual(whole.slice(at + 1));
    }
    expect(await lines("/v1/samples?after=gw-1/1/4")).toEqual(whole.slice(1));
    expect(await lines("/v1/samples?after=gw-1/0/9")).toEqual(whole);
    expect(await lines("/v1/samples?after=zz/1/1")).toEqual([]);
    expect((await api.call("viewer", "GET /v1/samples?after=gw-1")).body).toMatchObject({ code: "INVALID_QUERY" });
  });

  it("of other sites are not there", async () => {
    await commit("telemetry", 1, [row(1, { vib: 1 })]);
    await commit("telemetry", 1, [row(1, { vib: 2 })], { device: "gw-9", site: "plant-b" });
    const seen = await lines("/v1/samples", "viewer@plant-b");
    expect(seen.map((line) => JSON.parse(line).device)).toEqual(["gw-9"]);
    expect(await lines("/v1/samples?device=gw-1", "viewer@plant-b")).toEqual([]);
  });
});

describe("predictions", () => {
  async function pages(query: string, limit: number): Promise<Record<string, unknown>[]> {
    const items: Record<string, unknown>[] = [];
    for (let cursor = ""; ; ) {
      const answer = await api.call("viewer", `GET /v1/predictions?limit=${limit}${query}${cursor}`);
      const { items: more, next } = answer.body;
      expect(more.length).toBeLessThanOrEqual(limit);
      items.push(...more);
      if (next === undefined) return items;
      cursor = `&cursor=${next}`;
    }
  }

  it("are listed in the order of seq, or as they arrived, page by page", async () => {
    await commit("inference", 4, [prediction(4), prediction(5)]);
    await commit("inference", 1, [prediction(1), prediction(2), prediction(3)]);
    await commit("inference", 1, [prediction(0, { value: undefined, error: "DEADLINE" })], { device: "gw-0" });
    const seqs = (items: Record<string, unknown>[]) => items.map(({ device, seq }) => `${device} ${seq}`);
    const bySeq = ["gw-0 1", "gw-1 1", "gw-1 2", "gw-1 3", "gw-1 4", "gw-1 5"];
    expect(seqs(await pages("", 2))).toEqual(bySeq);
    expect(seqs(await pages("&order=seq", 100))).toEqual(bySeq);
    expect(seqs(await pages("&order=commit", 2))).toEqual(["gw-1 4", "gw-1 5", "gw-1 1", "gw-1 2", "gw-1 3", "gw-0 1"]);
    expect(seqs(await pages("&device=gw-1&asset=pump-1", 1))).toEqual(["gw-1 1", "gw-1 3", "gw-1 5"]);
    expect((await pages("&device=gw-0", 5))[0]).toMatchObject({ error: "DEADLINE", model: "rul", digest });
  });

  it("a cursor of one order is no cursor of the other", async () => {
    await commit("inference", 1, [prediction(1), prediction(2), prediction(3)]);
    const { next } = (await api.call("viewer", "GET /v1/predictions?limit=1&order=commit")).body;
    const wrong = await api.call("viewer", `GET /v1/predictions?limit=1&cursor=${next}`);
    expect(wrong.body).toMatchObject({ status: 400, code: "INVALID_CURSOR" });
  });
});

describe("events and losses", () => {
  it("are listed with where and when", async () => {
    const event = (n: number) => ({ atMs: T0, kind: "device", severity: "info", code: `C${n}`, text: "t", asset: "p" });
    await commit("event", 1, [event(1), event(2)], { synced: false });
    const { items } = (await api.call("viewer", "GET /v1/events?asset=p")).body;
    expect(items).toMatchObject([
      { seq: 1, code: "C1", atMs: T0, correctedAtMs: T0 + 7_000 },
      { seq: 2, code: "C2" },
    ]);
    await store.ingest.openSession({
      device: "gw-1",
      epoch: EPOCH,
      streams: [{ stream: "event", firstHeld: 6, next: 9 }],
      nowMs: T0,
    });
    expect((await api.call("viewer", "GET /v1/gaps")).body.items).toMatchObject([
      { device: "gw-1", stream: "event", fromSeq: 3, toSeq: 5, reason: "lost" },
    ]);
  });

  it("losses are listed to the last, page by page, whatever is lost meanwhile", async () => {
    const lose = async (device: string, count: number, nowMs: number) => {
      const streams = [{ stream: "event" as const, firstHeld: count + 1, next: count + 2 }];
      await store.ingest.openSession({ device, epoch: EPOCH, streams, nowMs });
    };
    for (let n = 0; n < 12; n++) await lose(`gw-${n % 6}`, 1 + n, T0 + (n > 5 ? 1 : 0));
    const seen: string[] = [];
    for (let next: string | undefined = ""; next !== undefined; ) {
      const { body } = await api.call("viewer", `GET /v1/gaps?limit=5${next && `&cursor=${next}`}`);
      seen.push(...body.items.map((gap: { device: string; fromSeq: number }) => `${gap.device} ${gap.fromSeq}`));
      next = body.next;
      await lose(`late-${seen.length}`, 1, T0 + 2);
    }
    const all = (await api.call("viewer", "GET /v1/gaps?limit=1000")).body.items;
    const known = all.filter(({ device }: { device: string }) => device.startsWith("gw-"));
    expect(seen).toEqual(known.map((gap: { device: string; fromSeq: number }) => `${gap.device} ${gap.fromSeq}`));
    expect(seen).toHaveLength(12);
  });

  it("dead letters are bounded: the newest of each device stay, fewer with their bytes", async () => {
    for (let n = 0; n < 1_050; n++) {
      const bytes = Buffer.from(`${n}`);
      await store.ingest.keepDeadLetter({
        device: "d",
        site: "s",
        kind: "state",
        code: "X",
        message: "m",
        bytes,
        atMs: n,
      });
    }
    const repeated = { device: "d", site: "s", kind: "state", code: "X", message: "m", bytes: Buffer.from("1049") };
    await store.ingest.keepDeadLetter({ ...repeated, atMs: 9_999 });
    const letters = await store.ingest.deadLetters({ limit: 2_000 });
    expect([letters.length, letters[0]?.atMs, letters.at(-1)?.atMs]).toEqual([1_000, 50, 1_049]);
  });
});

describe("subscribers", () => {
  it("are made with a secret that is shown once, limited to sites and classes, and revoked with their connections", async () => {
    const made = await api.call("admin", "POST /v1/subscribers", {
      account: "scada",
      sites: ["plant-a"],
      classes: ["alarm", "last"],
    });
    expect(made.http).toBe(201);
    expect(made.body).toMatchObject({ secret: expect.stringMatching(/^bws_/), subscriber: { account: "scada" } });
    const listed = await api.call("admin", "GET /v1/subscribers");
    expect(listed.body.items).toMatchObject([{ account: "scada", classes: ["alarm", "last"], revoked: false }]);
    expect(JSON.stringify(listed.body)).not.toContain("bws_");
    expect((await api.call("admin", "POST /v1/subscribers", { account: "scada", sites: ["x"] })).http).toBe(409);
    expect((await api.call("admin", "POST /v1/subscribers/scada/revoke")).body).toMatchObject({ revoked: true });
    expect(kicked).toEqual(["scada"]);
  });

  it("of sites that are not the administrator's cannot be made", async () => {
    const body = { account: "spy", sites: ["plant-a", "plant-b"] };
    expect((await api.call("admin@plant-a", "POST /v1/subscribers", body)).http).toBe(403);
  });
});
