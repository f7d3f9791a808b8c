import fc from "fast-check";
import { expect, test } from "vitest";
import { InferenceRecord } from "./messages/stream.ts";
import { checkRecord } from "./record-check.ts";
import { validator } from "./schema.ts";

const schema = validator("The prediction", InferenceRecord);
const digest = `sha256:${"0".repeat(64)}`;
const plain: InferenceRecord = {
  asset: "pump-1",
  observedAtMs: 1,
  model: "bearing",
  version: 1,
  digest,
  value: 0.5,
  outputs: { value: 0.5, spare: -1 },
  latencyUs: 12.5,
  alert: false,
  quality: { expected: 1, received: 1, late: 0, missing: 0 },
};

const anything = fc.oneof(
  fc.constantFrom(undefined, null, true, Number.NaN, Number.POSITIVE_INFINITY, -0, -1, 0, 0.5, 1, 8.64e15, 8.64e15 + 2),
  fc.constantFrom("", "pump-1", "a/b", "../a", "x".repeat(65), digest, `${digest}0`, digest.toUpperCase()),
  fc.constantFrom(
    {},
    [],
    [1],
    { value: 1 },
    { value: Number.NaN },
    { "a/b": 1 },
    { value: "text" },
    { value: [1, "b"] },
  ),
  fc.constantFrom(
    { expected: 1, received: 1, late: 0 },
    { expected: 1, received: 1, late: 0, missing: -1 },
    { expected: 1.5, received: 1, late: 0, missing: 0 },
    { expected: 1, received: 1, late: 0, missing: 0, spare: 1 },
  ),
  fc.jsonValue(),
);
const member = fc.constantFrom(
  ...Object.keys(plain),
  "error",
  "explanation",
  "predecessor",
  "laterMember",
  "__proto__",
);

test("a prediction whose numbers cannot be counted with is refused, as its schema does", () => {
  for (const version of [2 ** 53, 1e300, 0, 1.5]) {
    expect(checkRecord("inference", { ...plain, version }), String(version)).toMatchObject({ ok: false });
  }
  expect(checkRecord("inference", { ...plain, version: 2 ** 53 - 1 }).ok).toBe(true);
});

test("predictions are judged as their schema judges them, whatever is put into them or taken out", () => {
  expect(checkRecord("inference", plain).ok).toBe(true);
  fc.assert(
    fc.property(
      fc.array(fc.tuple(member, anything), { maxLength: 3 }),
      fc.array(member, { maxLength: 1 }),
      (put, out) => {
        const record: Record<string, unknown> = { ...plain };
        for (const [name, value] of put) {
          Object.defineProperty(record, name, { value, enumerable: true, configurable: true, writable: true });
        }
        for (const name of out) delete record[name];
        const expected = schema.check(record);
        expect(checkRecord("inference", record as InferenceRecord).ok).toBe(expected.ok);
      },
    ),
    { numRuns: 3_000 },
  );
});
