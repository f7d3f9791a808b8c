import { expect, test } from "vitest";
import { BEAT, createHeart, createWatchdog, readBeat } from "./watchdog.ts";

function plant() {
  const shared = new Int32Array(new SharedArrayBuffer(4 * BEAT.length));
  const heart = createHeart(shared);
  const dog = createWatchdog({ lookMsMax: 500, loopLimitMs: 3_000 });
  return { heart, look: (elapsedMs = 250) => dog.look(readBeat(shared), elapsedMs) };
}

test("one call over its limit is a hang of that model", () => {
  const { heart, look } = plant();
  heart.enter(3, 1_000);
  const kinds = Array.from({ length: 6 }, () => look().kind);
  expect(kinds).toEqual(["alive", "alive", "alive", "alive", "alive", "hung"]);
  expect(look()).toMatchObject({ kind: "hung", model: 3 });
});

test("many short calls are never one long call", () => {
  const { heart, look } = plant();
  for (let i = 0; i < 100; i++) {
    heart.enter(0, 1_000);
    expect(look().kind).toBe("alive");
    heart.leave();
    heart.turn();
  }
});

test("a suspended machine blames nobody: a jump of the clock counts as one look", () => {
  const { heart, look } = plant();
  heart.enter(0, 1_000);
  look();
  expect(look(3_600_000).kind).toBe("alive");
  expect(look().kind).toBe("alive");
  expect(look(250).kind).toBe("alive");
  expect(look().kind).toBe("hung");
});

test("a loop that does not turn is a stall, and one that turns is not", () => {
  const { heart, look } = plant();
  heart.turn();
  const kinds = Array.from({ length: 14 }, () => look().kind);
  expect(kinds.slice(0, 13).every((kind) => kind === "alive")).toBe(true);
  expect(kinds[13]).toBe("stalled");
  heart.turn();
  expect(look().kind).toBe("alive");
});
