import { existsSync, writeFileSync } from "node:fs";
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
