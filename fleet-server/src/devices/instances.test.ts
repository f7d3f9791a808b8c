import { expect, test } from "vitest";
import { Instances } from "./instances.ts";

test("restarts are no clones, however many; whoever speaks again after another is", () => {
  const instances = new Instances();
  for (let life = 0; life < 100; life++) {
    expect(instances.opened("gw-1", `life-${life}`)).toBe(false);
    expect(instances.opened("gw-1", `life-${life}`), "its next session").toBe(false);
  }
  expect(instances.opened("gw-1", "life-98")).toBe(true);
  expect(instances.opened("gw-1", "life-99")).toBe(true);
  expect(instances.opened("gw-2", "life-98"), "another device").toBe(false);
});

test("three machines with one key are found as well, and what is remembered is bounded", () => {
  const instances = new Instances();
  expect(["a", "b", "c", "a"].map((one) => instances.opened("gw", one))).toEqual([false, false, false, true]);
  for (let life = 0; life < 20; life++) instances.opened("gw", `life-${life}`);
  expect(instances.opened("gw", "a"), "forgotten after eight others").toBe(false);
});
