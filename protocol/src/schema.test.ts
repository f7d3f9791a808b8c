import { Type } from "typebox";
import { expect, test } from "vitest";
import { birthMessage, reportedMessage, stateMessage } from "./messages/device.ts";
import { ackMessage } from "./messages/stream.ts";
import { manifestShape } from "./package/manifest.ts";
import { pairOf, validator } from "./schema.ts";

test.each([
  ["manifest", manifestShape],
  ["state", stateMessage],
  ["birth", birthMessage],
  ["reported", reportedMessage],
  ["ack", ackMessage],
])("the schema of the %s compiles", (_, schema) => {
  expect(schema.check({})).toMatchObject({ ok: false, error: { code: "INVALID_SHAPE" } });
});

test("a pair has exactly two of its kind", () => {
  const range = validator("The range", pairOf(Type.Number()));
  expect(range.check([1, 2])).toEqual({ ok: true, value: [1, 2] });
  for (const wrong of [[], [1], [1, 2, 3], [1, "2"], [null, 2], 1]) expect(range.check(wrong).ok).toBe(false);
});
