import { expect, test } from "vitest";
import { bindingsOf } from "./bindings.ts";

test("an asset's birth says for each bound model how its channels are named there, or that it is not for it", () => {
  const models = [
    { model: "everywhere", channels: { x: "vibration" } },
    { model: "here", assets: ["pump-1", "pump-2"], channels: {} },
    { model: "elsewhere", assets: ["pump-2"], channels: { y: "level" } },
  ];
  expect(bindingsOf(models, "pump-1")).toEqual({ everywhere: { x: "vibration" }, here: {}, elsewhere: null });
  expect(bindingsOf([], "pump-1")).toEqual({});
});
