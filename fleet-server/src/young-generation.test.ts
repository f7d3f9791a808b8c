import { getHeapSpaceStatistics } from "node:v8";
import { afterEach, expect, test, vi } from "vitest";
import { watchYoungGeneration } from "./young-generation.io.ts";

const GROWN_BYTES = 16 * 1_024 * 1_024;

afterEach(() => vi.useRealTimers());

function youngBytes(): number {
  return getHeapSpaceStatistics().find(({ space_name }) => space_name === "new_space")!.physical_space_size;
}

/** Makes what lives through some collections of young objects, as the messages of a group do. */
function work(): number {
  let kept: number[][] = [];
  for (let round = 0; round < 3_000_000; round++) {
    kept.push([round]);
    if (kept.length > 200_000) kept = kept.slice(100_000);
  }
  return kept.length;
}

test("memory for young objects grows in a burst, is given back after it, and does not grow without one", () => {
  vi.useFakeTimers({ toFake: ["setInterval", "clearInterval"] });
  let waiting = 1_000;
  const stop = watchYoungGeneration({ waiting: () => waiting, share: () => 0.1 });
  try {
    vi.advanceTimersByTime(500);
    // How much of it lives through a collection depends on when that comes.
    for (let turn = 0; turn < 10 && youngBytes() < GROWN_BYTES; turn++) work();
    expect(youngBytes()).toBeGreaterThanOrEqual(GROWN_BYTES);
    waiting = 0;
    vi.advanceTimersByTime(31_000);
    expect(youngBytes()).toBeLessThan(GROWN_BYTES / 4);
    work();
    expect(youngBytes()).toBeLessThan(GROWN_BYTES / 2);
  } finally {
    stop();
  }
});
