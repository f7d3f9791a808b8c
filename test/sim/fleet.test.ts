import { expect, it } from "vitest";
import { simulate } from "./fleet.ts";
import { Trace } from "./world.ts";

/** Seeds that are tried each time; `npm run sim -- --seeds N` tries as many as a night has room for. */
const SEEDS = 200;

it("keeps every promise in 200 simulated fleets, whatever breaks", async () => {
  let downsampled = 0;
  for (let seed = 1; seed <= SEEDS; seed++) {
    const { violation, ...outcome } = await simulate(seed, new Trace());
    downsampled += outcome.downsampled;
    const broken = violation && `promise ${violation.promise}: ${violation.what}`;
    expect(broken, `replay with: npm run sim -- --seed ${seed}`).toBeUndefined();
  }
  // What is held of figures is held of something.
  expect(downsampled).toBeGreaterThan(1_000);
});

it("gives the same trace for the same seed", async () => {
  for (const seed of [1, 7, 23, 42]) {
    const [first, second] = [await simulate(seed, new Trace()), await simulate(seed, new Trace())];
    expect(first.lines).toBeGreaterThan(10);
    expect(second).toEqual(first);
  }
});
