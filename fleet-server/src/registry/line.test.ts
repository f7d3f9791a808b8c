import { expect, test } from "vitest";
import { createLine } from "./line.io.ts";

/** Work that ends when it is told to. */
function held() {
  let finish = () => {};
  const ended = new Promise<void>((resolve) => {
    finish = resolve;
  });
  return { work: () => ended, finish };
}

test("runs one at a time, in the order in which they came, whatever one throws", async () => {
  const line = createLine(9);
  const order: string[] = [];
  const first = held();
  const all = [
    line.run(async () => {
      order.push("first begins");
      await first.work();
      order.push("first ends");
      throw new Error("first");
    }),
    line.run(async () => order.push("second")),
    line.run(async () => order.push("third"), 60_000),
  ];
  first.finish();
  await expect(all[0]).rejects.toThrow("first");
  await Promise.all(all.slice(1));
  expect(order).toEqual(["first begins", "first ends", "second", "third"]);
});

test("who waits for too long is sent away without having run, and is not in anybody's way", async () => {
  const line = createLine(9);
  const first = held();
  const running = line.run(first.work);
  let ran = false;
  expect(await line.run(async () => (ran = true), 5)).toBeUndefined();
  const last = line.run(async () => "last");
  first.finish();
  await running;
  expect(await last).toBe("last");
  expect(ran).toBe(false);
});

test("only so many wait; who must run waits all the same", async () => {
  const line = createLine(2);
  const first = held();
  const running = [line.run(first.work, 60_000), line.run(async () => 2, 60_000)];
  expect(await line.run(async () => 3, 60_000)).toBeUndefined();
  const must = line.run(async () => 4);
  let empty = false;
  const emptied = line.empty().then(() => (empty = true));
  await Promise.resolve();
  expect(empty).toBe(false);
  first.finish();
  await Promise.all(running);
  expect(await must).toBe(4);
  await emptied;
  await line.empty();
});
