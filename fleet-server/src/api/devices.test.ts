import { unwrap } from "@bellwether/protocol/result.ts";
import { beforeEach, describe, expect, it } from "vitest";
import { type TestApi, testApi } from "../../../test/kit/api.ts";
import { memoryRoom } from "../../../test/kit/room.ts";
import { PRESENCE_RULE } from "../devices/presence.ts";
import type { DevicesStore } from "../store/devices.ts";
import { devices, devicesMigrations } from "../store/sqlite/devices.ts";
import { deviceRoutes } from "./devices.ts";

/** More than the store reads at once under a filter. */
const DEVICES = 2_100;
const NOW_MS = 1_000_000;
const name = (index: number) => `gw-${String(index).padStart(4, "0")}`;

let store: DevicesStore;
let api: TestApi;
beforeEach(async () => {
  store = memoryRoom<DevicesStore>(devices, devicesMigrations);
  const document = async (device: string) => (device === name(0) ? Buffer.from('{"for":"it"}') : undefined);
  const deps = {
    store: { devices: store },
    rule: PRESENCE_RULE,
    quotaOf: () => ({ isPaused: false, pauses: 0 }),
    kick: () => {},
    inherit: async () => {},
    document,
  };
  api = await testApi(deviceRoutes(deps), { clock: () => NOW_MS });
  return () => api.close();
});

async function enrolAll(count: number): Promise<void> {
  for (const site of ["a", "b"]) {
    const token = { id: site, site, labels: { line: site }, serials: null, preapproved: true, usesLeft: count };
    const rest = { expiresAtMs: NOW_MS, createdAtMs: 0, createdBy: "test", revoked: false };
    await store.addEnrolmentToken({ hash: site, token: { ...token, ...rest } });
  }
  for (let i = 0; i < count; i++) {
    const facts = { device: name(i), serial: null, publicHex: `key ${i}`, nowMs: i, reference: "" };
    unwrap(await store.enrol({ hash: i % 2 === 0 ? "a" : "b", ...facts }));
  }
}

/** Names on all pages of a list, followed to its end. */
async function listed(query: string, token = "viewer"): Promise<string[][]> {
  const pages: string[][] = [];
  for (let next: string | undefined = ""; next !== undefined; ) {
    const answer = await api.call(token, `GET /v1/devices?${query}${next && `&cursor=${next}`}`);
    expect(answer.http).toBe(200);
    pages.push(answer.body.items.map(({ device }: { device: string }) => device));
    next = answer.body.next as string | undefined;
  }
  return pages;
}

describe("the list of devices", () => {
  it("shows what is known of each", async () => {
    await enrolAll(1);
    await store.seen({ at: [[name(0), NOW_MS - 31_000]] });
    const { body } = await api.call("viewer", "GET /v1/devices");
    expect(body).toEqual({
      items: [
        {
          ...{ device: name(0), site: "a", phase: "active", presence: "late", ageMs: 31_000 },
          ...{ lastSeenAtMs: NOW_MS - 31_000, labels: { line: "a" }, facts: {}, serial: null, agentVersion: null },
          clockAheadMs: null,
          ...{ enrolledAtMs: 0, cloned: false, clonedAtMs: null, replacedBy: null },
        },
      ],
    });
  });

  it("has every device once, in pages as long as asked for, whatever it is filtered by", async () => {
    await enrolAll(DEVICES);
    const all = Array.from({ length: DEVICES }, (_, index) => name(index));
    await store.seen({ at: [3, 1_500, 2_099].map((index) => [name(index), NOW_MS] as const) });
    const full = await listed("limit=700");
    expect(full.map((page) => page.length)).toEqual([700, 700, 700]);
    expect(full.flat()).toEqual(all);
    const odd = all.filter((_, index) => index % 2 === 1);
    expect((await listed("limit=1000&selector=line%3Db")).map((page) => page.length)).toEqual([1_000, 50]);
    expect((await listed("limit=1000&selector=line%3Db")).flat()).toEqual(odd);
    expect(await listed("limit=2&presence=online")).toEqual([[name(3), name(1_500)], [name(2_099)]]);
    expect(await listed("presence=online&selector=line%3Da")).toEqual([[name(1_500)]]);
    expect(await listed("selector=line%3Dnone")).toEqual([[]]);
    expect((await listed("limit=1000", "viewer@b")).flat()).toEqual(odd);
    expect(await listed("limit=10", "viewer@nowhere")).toEqual([[]]);
  });
});

it("gives a device's document to operators, of what they see, byte for byte", async () => {
  await enrolAll(2);
  const ask = (token: string, device: string) => api.call(token, `GET /v1/devices/${device}/document`);
  expect(await ask("operator", name(0))).toMatchObject({ http: 200, body: { for: "it" } });
  expect(await ask("viewer", name(0))).toMatchObject({ http: 403 });
  expect(await ask("operator", name(1))).toMatchObject({ http: 404, body: { code: "NOT_FOUND" } });
  expect(await ask("operator", "gw-none")).toMatchObject({ http: 404, body: { code: "NOT_FOUND" } });
});
