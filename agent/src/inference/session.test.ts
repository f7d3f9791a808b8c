import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { unwrap } from "@bellwether/protocol/result.ts";
import { expect, test } from "vitest";
import { temporaryFolder } from "../../../test/kit/folder.ts";
import { halvesModel, linearModel } from "../../../test/kit/onnx.ts";
import { writeSlot } from "../../../test/kit/slots.ts";
import { verifySlot } from "../trust/slot-files.io.ts";
import type { VerifiedModel } from "../trust/verified-model.ts";
import { type OpenSessionOptions, openSession } from "./session.io.ts";

/** As every start does it. */
const openSlot = async (slotDir: string, options?: OpenSessionOptions) => {
  const verified = await verifySlot(slotDir);
  return verified.ok ? openSession(verified.value, options) : verified;
};
const input = (...values: number[]) => [
  { name: "in", type: "float32", dims: [values.length, 1], data: Float32Array.from(values) } as const,
];

test("a slot opens and runs; the digest is the manifest's own", async () => {
  const written = writeSlot(temporaryFolder(), linearModel([2], 1));
  const session = unwrap(await openSlot(written.slotDir));
  const { out } = await session.run(input(3, 4));
  expect(Array.from(out!.data)).toEqual([7, 9]);
  expect(session.digest).toBe(written.digest);
  expect(session.manifest.model).toBe("pump-rul");
  await session.close();
});

test("halves go in and come out", async () => {
  const session = unwrap(await openSlot(writeSlot(temporaryFolder(), halvesModel()).slotDir));
  const halves = { name: "in", type: "float16", dims: [2, 1], data: Float16Array.of(1.5, -2) } as const;
  const { out } = await session.run([halves]);
  expect(Array.from(out!.data)).toEqual([3, -4]);
  await session.close();
});

test("every native call is marked for the watchdog, a failing one too", async () => {
  const marks: string[] = [];
  const guard = { enter: (model: number) => marks.push(`in ${model}`), leave: () => marks.push("out") };
  const { slotDir } = writeSlot(temporaryFolder(), linearModel([2]));
  const session = unwrap(await openSlot(slotDir, { guard, index: 4 }));
  await session.run(input(1));
  const wrong = [{ name: "in", type: "float32", dims: [1, 3], data: Float32Array.of(1, 2, 3) } as const];
  await expect(session.run(wrong)).rejects.toThrow();
  expect(marks).toEqual(["in 4", "out", "in 4", "out", "in 4", "out"]);
  await session.close();
});

test("of runs that are asked for together each has its own mark; one that is refused leaves none behind", async () => {
  const marks: string[] = [];
  const guard = { enter: () => marks.push("in"), leave: () => marks.push("out") };
  const { slotDir } = writeSlot(temporaryFolder(), linearModel([2]));
  const session = unwrap(await openSlot(slotDir, { guard }));
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
  const { slotDir } = writeSlot(temporaryFolder(), linearModel([2]));
  const session = unwrap(await openSlot(slotDir));
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

test("what runs is what was verified, whatever becomes of the file meanwhile", async () => {
  const { slotDir } = writeSlot(temporaryFolder(), linearModel([2]));
  const verified = unwrap(await verifySlot(slotDir));
  writeFileSync(join(slotDir, "model.onnx"), linearModel([3]));
  const session = unwrap(await openSession(verified));
  expect((await session.run(input(1))).out!.data[0]).toBe(2);
  await session.close();
});

test("no session is made of anything but a verified model, nor two of one", async () => {
  const verified = unwrap(await verifySlot(writeSlot(temporaryFolder(), linearModel([2])).slotDir));
  // @ts-expect-error: what looks like one is none
  const alike: VerifiedModel = { ...verified };
  const thrown = (model: VerifiedModel) => openSession(model).then(() => "nothing", String);
  expect(await thrown(alike)).toMatch(/^TypeError/);
  expect(await thrown(Object.create(verified))).toMatch(/^TypeError/);
  await unwrap(await openSession(verified)).close();
  expect(await thrown(verified)).toMatch(/one session/);
});

test("bytes that are no model are refused by name and version", async () => {
  const { slotDir } = writeSlot(temporaryFolder(), Buffer.from("not a model"));
  const opened = await openSlot(slotDir);
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
  const { slotDir } = writeSlot(temporaryFolder(), linearModel([2]), changes);
  expect(await openSlot(slotDir)).toMatchObject({
    ok: false,
    error: { code: "MODEL_INPUT_UNBOUND", detail: { side } },
  });
});
