import { expect, test } from "vitest";
import { readSerials } from "./serials.ts";

test.each([
  ["one column", "A1\nA2\n\nA1\n", ["A1", "A2"]],
  ["a header", "serial\r\nA1\r\nA2\r\n", ["A1", "A2"]],
  ["a column among others", 'model,Serial,note\ngw,"A 1",x\ngw,A2,"a, b"\ngw,,no serial\n', ["A 1", "A2"]],
  ["a spreadsheet's semicolons", "\uFEFFserial;site\nA1;north\n", ["A1"]],
])("serial numbers are read from %s", (_, text, serials) => {
  expect(readSerials(text, "list.csv")).toEqual({ ok: true, value: serials });
});

test.each(["", "serial\n", "\n\n", "model,place\ngw,north\n"])("%j is no list", (text) => {
  expect(readSerials(text, "list.csv")).toMatchObject({ ok: false, error: { code: "ARGUMENT_INVALID" } });
});
