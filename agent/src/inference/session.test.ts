import { appendFileSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { unwrap } from "@bellwether/protocol/result.ts";
import { expect, test } from "vitest";
import { temporaryFolder } from "../../../test/kit/folder.ts";
import { halvesModel, linearModel } from "../../../test/kit/onnx.ts";
import { writeSlot } from "../../../test/kit/slots.ts";
import { installSlot } from "../../../test/kit/state.ts";
import { openSession } from "./session.io.ts";

const slot = (name = "slot") => join(temporaryFolder(), name);
const input = (...values: number[]) => [
  { name: "in", type: "float32", dims: [values.length, 1], data: Float32Array.from(values) } as const,
];

test("a slot opens and runs; the digest is the manifest's own", async () => {
  const written = writeSlot(slot(), linearModel([2], 1));
  const session = unwrap(await openSession(written.slotDir));
  const { out } = await session.run(input(3, 4));
  expect(Array.from(out!.data)).toEqual([7, 9]);
  expect(session.digest).toBe(written.digest);
  expect(session.manifest.model).toBe("pump-rul");
  await session.close();
});

test("halves go in and come out", async () => {
  const session = unwrap(await openSession(writeSlot(slot(), halvesModel()).slotDir));
  const halves = { name: "in", type: "float16", dims: [2, 1], data: Float16Array.of(1.5, -2) } as const;
  const { out } = await session.run([halves]);
  expect(Array.from(out!.data)).toEqual([3, -4]);
  await session.close();
});

test("every native call is marked for the watchdog, a failing one too", async () => {
  const marks: string[] = [];
  const guard = { enter: (model: number) => marks.push(`in ${model}`), leave: () => marks.push("out") };
  const { slotDir } = writeSlot(slot(), linearModel([2]));
  const session = unwrap(await openSession(slotDir, { guard, index: 4 }));
  await session.run(input(1));
  const wrong = [{ name: "in", type: "float32", dims: [1, 3], data: Float32Array.of(1, 2, 3) } as const];
  await expect(session.run(wrong)).rejects.toThrow();
  expect(marks).toEqual(["in 4", "out", "in 4", "out", "in 4", "out"]);
  await session.close();
});

test("of runs that are asked for together each has its own mark; one that is refused leaves none behind", async () => {
  const marks: string[] = [];
  const guard = { enter: () => marks.push("in"), leave: () => marks.push("out") };
  const { slotDir } = writeSlot(slot(), linearModel([2]));
  const session = unwrap(await openSession(slotDir, { guard }));
  marks.length = 0;
  const answers = await Promise.all([session.run(input(1)), session.run(input(2)), session.run(input(3))]);
  expect(answers.map(({ out }) => out!.data[0])).toEqual([2, 4, 6]);
  expect(marks).toEqual(["in", "out", "in", "out", "in", "out"]);

  marks.length = 0;
  const nameless = [{ ...input(1)[0]!, name: "other" }];
  await expect(session.run(nameless)).rejects.toThrow();
  await new Promise((turned) => setImmediate(turned));
  expect(marks.at(-1)).toBe("out");
  await session.close();
});

test("a run takes what its native call takes, not what its thread did before it", async () => {
  const { slotDir } = writeSlot(slot(), linearModel([2]));
  const session = unwrap(await openSession(slotDir));
  await session.run(input(1));
  const busyMs = 300;
  setImmediate(() => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, busyMs));
  const beganMs = performance.now();
  await session.run(input(1));
  expect(performance.now() - beganMs).toBeGreaterThanOrEqual(busyMs);
  expect(session.lastRunUs).toBeGreaterThan(0);
  expect(session.lastRunUs).toBeLessThan(busyMs * 1_000);
  await session.close();
});

test.each([
  {
    name: "a changed model",
    code: "SLOT_CHANGED",
    spoil: (dir: string) => appendFileSync(join(dir, "model.onnx"), "x"),
  },
  {
    name: "a changed profile",
    code: "SLOT_CHANGED",
    spoil: (dir: string) => appendFileSync(join(dir, "reference.json"), " "),
  },
  { name: "a missing model", code: "SLOT_UNREADABLE", spoil: (dir: string) => rmSync(join(dir, "model.onnx")) },
  { name: "a missing manifest", code: "SLOT_UNREADABLE", spoil: (dir: string) => rmSync(join(dir, "manifest.json")) },
  {
    name: "a manifest that is none",
    code: "INVALID_JSON",
    spoil: (dir: string) => appendFileSync(join(dir, "manifest.json"), "}"),
  },
])("$name is not run: $code", async ({ code, spoil }) => {
  const { slotDir } = writeSlot(slot(), linearModel([2]));
  spoil(slotDir);
  expect(await openSession(slotDir)).toMatchObject({ ok: false, error: { code } });
});

test.each([
  ["says something else", (text: string) => text.replace('"p99LatencyMs":50', '"p99LatencyMs":59')],
  ["is none any more", (text: string) => `${text}}`],
])("a manifest that %s is not run in its slot", async (_, spoil) => {
  const { slotDir } = installSlot(temporaryFolder(), linearModel([2]));
  expect(await openSession(slotDir)).toMatchObject({ ok: true });
  const path = join(slotDir, "manifest.json");
  writeFileSync(path, spoil(readFileSync(path, "utf8")));
  expect(await openSession(slotDir)).toMatchObject({ ok: false, error: { code: "SLOT_CHANGED" } });
});

test("a reference that says nothing usable is refused before the model is loaded", async () => {
  const { slotDir } = writeSlot(slot(), linearModel([2]), {}, { v: 1, features: { "x.last": { median: null } } });
  expect(await openSession(slotDir)).toMatchObject({ ok: false, error: { code: "INVALID_SHAPE" } });
});

test("bytes that are no model are refused by name and version", async () => {
  const { slotDir } = writeSlot(slot(), Buffer.from("not a model"));
  const opened = await openSession(slotDir);
  expect(opened).toMatchObject({
    ok: false,
    error: { code: "MODEL_NOT_LOADABLE", detail: { model: "pump-rul", version: 1 } },
  });
});

test.each([
  {
    side: "input",
    changes: {
      tensors: [
        {
          input: "other",
          type: "float32" as const,
          shape: ["batch" as const, 1],
          source: { kind: "features" as const, features: ["x.last"] },
        },
      ],
    },
  },
  {
    side: "output",
    changes: { outputs: [{ name: "value", output: "other", meaning: "value" as const, primary: true }] },
  },
])("a manifest that names no $side of the graph is refused before it serves", async ({ side, changes }) => {
  const { slotDir } = writeSlot(slot(), linearModel([2]), changes);
  expect(await openSession(slotDir)).toMatchObject({
    ok: false,
    error: { code: "MODEL_INPUT_UNBOUND", detail: { side } },
  });
});
