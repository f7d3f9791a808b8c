import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { temporaryFolder } from "../../../test/kit/folder.ts";
import { idleModel } from "./machine.ts";
import { openSlots } from "./slots.io.ts";

test("what was saved is loaded, whole", () => {
  const folder = temporaryFolder();
  const state = {
    v: 1 as const,
    directorVersion: 7,
    timeFloorMs: 5,
    models: [{ ...idleModel("pump-rul"), attempts: 2 }],
  };
  openSlots(folder).save(state);
  expect(openSlots(folder).load()).toEqual(state);
});

test.each(["", "{", "null", "[]", '{"v":2}', '{"v":1,"directorVersion":1,"timeFloorMs":0,"models":[{}]}'])(
  "a rotten file (%s) costs the models, not the agent",
  (content) => {
    const folder = temporaryFolder();
    writeFileSync(join(folder, "update.json"), content);
    expect(openSlots(folder).load()).toEqual({ v: 1, directorVersion: 0, timeFloorMs: 0, models: [] });
    expect(existsSync(join(folder, "update.json.unreadable"))).toBe(true);
    expect(openSlots(folder).load().models).toEqual([]);
  },
);

const digest = (letter: string) => `sha256:${letter.repeat(64)}`;
const [A, B, C] = ["a", "b", "c"].map(digest) as [string, string, string];

function slotsWith(partials: readonly string[]) {
  const folder = temporaryFolder();
  const slots = openSlots(folder);
  for (const one of partials) writeFileSync(join(slots.partialOf("m", one), "manifest.json"), one);
  return { folder: join(folder, "slots", "m"), slots };
}

test("a download keeps what an earlier try left, and has no final name until it is promoted", () => {
  const { slots } = slotsWith([A]);
  expect(readFileSync(join(slots.partialOf("m", A), "manifest.json"), "utf8")).toBe(A);
  expect(slots.has("m", A)).toBe(false);
  slots.promote("m", A);
  expect(slots.has("m", A)).toBe(true);
  expect(readdirSync(slots.pathOf("m", A))).toEqual(["manifest.json"]);
});

test("a folder without a manifest is no slot; a promotion replaces it", () => {
  const { folder, slots } = slotsWith([A]);
  slots.promote("m", A);
  const again = join(slots.partialOf("m", A), "manifest.json");
  writeFileSync(again, "second");
  slots.promote("m", A);
  expect(readFileSync(join(slots.pathOf("m", A), "manifest.json"), "utf8")).toBe("second");
  expect(readdirSync(folder)).toEqual(["a".repeat(64)]);
});

test("a slot that is discarded is none, and what is downloaded for it stays", () => {
  const { folder, slots } = slotsWith([A]);
  slots.promote("m", A);
  slots.partialOf("m", A);
  slots.discard("m", A);
  expect(slots.has("m", A)).toBe(false);
  expect(readdirSync(folder)).toEqual([`${"a".repeat(64)}.partial`]);
});

test("what nobody names any more is collected: slots and downloads, of this model only", () => {
  const { folder, slots } = slotsWith([A, B, C]);
  slots.promote("m", A);
  slots.promote("m", B);
  writeFileSync(join(slots.partialOf("other", A), "manifest.json"), A);
  slots.keepOnly("m", [A, C]);
  expect(readdirSync(folder).sort()).toEqual(["a".repeat(64), `${"c".repeat(64)}.partial`]);
  expect(existsSync(slots.partialOf("other", A))).toBe(true);
  slots.keepOnly("m", []);
  expect(readdirSync(folder)).toEqual([]);
  slots.keepOnly("nobody", [A]);
});

test("a download must fit with a tenth to spare and 16 MB for everything else", () => {
  const { slots } = slotsWith([]);
  expect(slots.preflight(1_000)).toEqual({ ok: true, value: undefined });
  const full = slots.preflight(Number.MAX_SAFE_INTEGER);
  expect(full).toMatchObject({ ok: false, error: { code: "DISK_TOO_FULL" } });
  const { free, needed } = (full.ok ? {} : full.error.detail) as { free: number; needed: number };
  expect(needed).toBe(Math.ceil(Number.MAX_SAFE_INTEGER * 1.1) + 16 * 1024 * 1024);
  expect(slots.preflight(Math.floor(free / 1.1))).toMatchObject({ ok: false });
});
