import { createHash } from "node:crypto";
import { unwrap } from "@bellwether/protocol/result.ts";
import { type DirectorDocument, openDirector } from "@bellwether/protocol/trust/director.ts";
import { keyPairOf } from "@bellwether/protocol/trust/keys.ts";
import { expect, it } from "vitest";
import { temporaryFolder } from "../../../test/kit/folder.ts";
import { temporaryStore } from "../../../test/kit/store.ts";
import type { Store } from "../store/store.ts";
import { createDirector, DIRECTOR_LIFE_MS, type DirectorPorts } from "./director.io.ts";

const KEY = keyPairOf(createHash("sha256").update("director").digest());
const START_MS = 1_800_000_000_000;
const confirm = { inferences: 20, soakMs: 1_000, deadlineMs: 60_000, errorFraction: 0.05 };

type Release = NonNullable<ReturnType<DirectorPorts["releaseOf"]>>;
const release = (version: number, more: Partial<Release> = {}): Release => ({
  manifestDigest: `sha256:${String(version).padStart(64, "0")}`,
  manifestLength: 100 + version,
  releaseCounter: version,
  ...more,
});

/** A director over a real store, its documents opened as a device would, and releases that can be taken away. */
async function start(given?: Store) {
  const store = given ?? (await temporaryStore());
  const released = new Map([
    ["rul 1", release(1)],
    ["rul 2", release(2, { cohort: "line-3" })],
    ["anomaly 7", release(7)],
  ]);
  const published: { device: string; bytes: Uint8Array; document: DirectorDocument }[] = [];
  const at = { nowMs: START_MS };
  const director = createDirector({
    store,
    key: () => KEY,
    releaseOf: (model, version) => released.get(`${model} ${version}`),
    publish(device, bytes) {
      const trust = { device, keys: [KEY.publicKey], lastVersion: 0, nowMs: at.nowMs };
      published.push({ device, bytes, document: unwrap(openDirector(bytes, trust)) });
    },
    now: () => at.nowMs,
  });
  const assign = (model: string, version: number | null, more: { device?: string; rollout?: string } = {}) =>
    director.assign({ device: "gw-1", model, version, confirm, ...more });
  const newest = () => published.at(-1)!.document;
  return { store, released, published, at, director, assign, newest };
}

const namesOf = ({ models }: DirectorDocument) => models.map(({ model, version }) => `${model} ${version}`).sort();

it("numbers every document higher than all before it, over changes, repetitions and restarts", async () => {
  const dir = temporaryFolder("director-");
  const first = await start(await temporaryStore(dir));
  expect(unwrap(await first.assign("rul", 1))).toEqual({ directorVersion: 1 });
  expect(unwrap(await first.assign("rul", 1))).toEqual({ directorVersion: 2 });
  expect(unwrap(await first.assign("rul", null))).toEqual({ directorVersion: 3 });
  await first.assign("rul", 1, { device: "gw-2" });
  await first.store.close();
  const second = await start(await temporaryStore(dir));
  expect(unwrap(await second.assign("anomaly", 7))).toEqual({ directorVersion: 4 });
  const numbers = [...first.published, ...second.published].map(({ device, document }) => [device, document.version]);
  expect(numbers).toEqual([
    ["gw-1", 1],
    ["gw-1", 2],
    ["gw-1", 3],
    ["gw-2", 1],
    ["gw-1", 4],
  ]);
});

it("numbers are given once, however many ask at the same time", async () => {
  const { assign, published } = await start();
  await Promise.all(Array.from({ length: 20 }, (_, i) => assign(i % 2 ? "rul" : "anomaly", i % 2 ? 1 : 7)));
  const versions = published.map(({ document }) => document.version);
  expect(versions.toSorted((a, b) => a - b)).toEqual(Array.from({ length: 20 }, (_, i) => i + 1));
});

it("says everything that is asked of the device, for a week, and what the repository says of each version", async () => {
  const { assign, newest, at } = await start();
  await assign("anomaly", 7, { rollout: "r-1" });
  at.nowMs += 5;
  await assign("rul", 2, { rollout: "r-2" });
  expect(newest()).toEqual({
    v: 1,
    device: "gw-1",
    version: 2,
    issuedAtMs: START_MS + 5,
    expiresAtMs: START_MS + 5 + DIRECTOR_LIFE_MS,
    models: [
      { model: "anomaly", version: 7, ...release(7), confirm, rollout: "r-1", assignedIn: 1 },
      { model: "rul", version: 2, ...release(2, { cohort: "line-3" }), confirm, rollout: "r-2", assignedIn: 2 },
    ],
    remove: [],
  });
  await assign("rul", 1);
  expect(namesOf(newest())).toEqual(["anomaly 7", "rul 1"]);
  expect(newest().models.find(({ model }) => model === "rul")).not.toHaveProperty("rollout");
});

it("takes a model away by name, until it is asked for again", async () => {
  const { assign, newest } = await start();
  await assign("rul", 1);
  await assign("anomaly", 7);
  await assign("rul", null);
  expect([namesOf(newest()), newest().remove]).toEqual([["anomaly 7"], ["rul"]]);
  await assign("rul", 2);
  expect([namesOf(newest()), newest().remove]).toEqual([["anomaly 7", "rul 2"], []]);
});

it("asks for nothing that is not released: no document, and no number is used up", async () => {
  const { assign, published, released, newest, store } = await start();
  expect(await assign("rul", 9)).toMatchObject({ ok: false, error: { code: "ROLLOUT_VERSION_NOT_RELEASED" } });
  expect([published, await store.director.get({ device: "gw-1" })]).toEqual([[], undefined]);
  await assign("rul", 1);
  await assign("anomaly", 7);
  // What is withdrawn meanwhile is asked of nobody any more, and the others stay.
  released.delete("rul 1");
  await assign("anomaly", 7);
  expect([newest().version, namesOf(newest())]).toEqual([3, ["anomaly 7"]]);
});

it("sends the newest document again as it is, and a new one when half of its life is over", async () => {
  const { assign, director, published, at, newest } = await start();
  await director.resend("gw-1");
  expect(published).toEqual([]);
  await assign("rul", 1, { rollout: "r-1" });
  at.nowMs = START_MS + DIRECTOR_LIFE_MS / 2;
  await director.resend("gw-1");
  expect(Buffer.from(published[1]!.bytes)).toEqual(Buffer.from(published[0]!.bytes));
  at.nowMs++;
  await director.resend("gw-1");
  expect(newest()).toEqual({
    ...published[0]!.document,
    version: 2,
    issuedAtMs: at.nowMs,
    expiresAtMs: at.nowMs + DIRECTOR_LIFE_MS,
  });
  await director.resend("gw-1");
  expect(newest().version).toBe(2);
  // What is carried to it by hand is what it is sent.
  expect(await director.newest("gw-1")).toEqual(Buffer.from(published.at(-1)!.bytes));
  expect(await director.newest("gw-2")).toBeUndefined();
});
