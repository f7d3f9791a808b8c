import { MessageChannel } from "node:worker_threads";
import { unwrap } from "@bellwether/protocol/result.ts";
import { expect, test } from "vitest";
import { eventually } from "../../../test/kit/eventually.ts";
import { temporaryFolder } from "../../../test/kit/folder.ts";
import { halvesModel, linearModel } from "../../../test/kit/onnx.ts";
import { writeSlot } from "../../../test/kit/slots.ts";
import { verifySlot } from "../trust/slot-files.io.ts";
import { hostedSession, hostSession } from "./hosted-session.io.ts";
import { openSession } from "./session.io.ts";

const input = (...values: number[]) => [
  { name: "in", type: "float32", dims: [values.length, 1], data: Float32Array.from(values) } as const,
];

/** A real session and its other end; `marks` are those of the thread that asks. */
async function hosted(model: Uint8Array) {
  const session = unwrap(await openSession(unwrap(await verifySlot(writeSlot(temporaryFolder(), model).slotDir))));
  let closed = false;
  const watched = Object.create(session, {
    close: {
      value: async () => {
        closed = true;
        await session.close();
      },
    },
  });
  const { port1: host, port2: port } = new MessageChannel();
  const ended = hostSession(host, watched);
  const marks: string[] = [];
  let lost = 0;
  const guard = { enter: (index: number) => marks.push(`in ${index}`), leave: () => marks.push("out") };
  const away = hostedSession({ facts: session, port }, { guard, index: 4, onLost: () => (lost += 1) });
  return { session, away, host, ended, marks, isClosed: () => closed, lost: () => lost };
}

test("a hosted session says of itself and of its inputs what the session says", async () => {
  const { session, away, ended, isClosed, lost } = await hosted(linearModel([2], 1));
  const { slotDir, manifest, digest, reference, loadMs } = session;
  expect(away).toMatchObject({ slotDir, manifest, digest, reference, loadMs });
  const [here, there] = [await session.run(input(3, 4)), await away.run(input(3, 4))];
  expect(there["out"]).toEqual({ dims: here["out"]!.dims, type: here["out"]!.type, data: here["out"]!.data });
  expect(away.lastRunUs).toBeGreaterThan(0);
  await away.close();
  await ended;
  expect([isClosed(), lost()]).toEqual([true, 0]);
});

test("halves cross, and a part of a large buffer crosses alone", async () => {
  const { away } = await hosted(halvesModel());
  const all = new Float16Array(new ArrayBuffer(2_000_000));
  all.set([1.5, -2], 10);
  const data = all.subarray(10, 12);
  const { out } = await away.run([{ name: "in", type: "float16", dims: [2, 1], data }]);
  expect(Array.from(out!.data)).toEqual([3, -4]);
  // What was lent is still whole.
  expect(Array.from(data)).toEqual([1.5, -2]);
  await away.close();
});

test("each run is marked for the watchdog, also those that are asked for together or fail", async () => {
  const { away, marks } = await hosted(linearModel([2]));
  const answers = await Promise.all([away.run(input(1)), away.run(input(2))]);
  expect(answers.map(({ out }) => out!.data[0])).toEqual([2, 4]);
  expect(marks).toEqual(["in 4", "out", "in 4", "out"]);
  const wrong = [{ name: "in", type: "float32", dims: [1, 3], data: Float32Array.of(1, 2, 3) } as const];
  await expect(away.run(wrong)).rejects.toThrow(/dimension|shape/i);
  expect(marks.slice(4)).toEqual(["in 4", "out"]);
  expect((await away.run(input(3))).out!.data[0]).toBe(6);
  await away.close();
});

test("when its thread ends unasked, that is told once, and no run waits for ever", async () => {
  const { away, host, marks, lost } = await hosted(linearModel([2]));
  await away.run(input(1));
  const asked = away.run(input(2)).then(() => "answered", String);
  host.close();
  expect(await asked).toMatch(/has ended|answered/);
  await eventually("it is told", () => lost() === 1);
  await expect(away.run(input(3))).rejects.toThrow("the thread of the model has ended");
  expect(marks.at(-1)).toBe("out");
  await away.close();
  expect(lost()).toBe(1);
});
