import { expect, it } from "vitest";
import { simulate } from "./fleet.ts";
import { Trace } from "./world.ts";

/** Seeds that are tried each time; `npm run sim -- --seeds N` tries as many as a night has room for. */
const SEEDS = 200;

it("keeps every promise in 200 simulated fleets, whatever breaks", async () => {
  for (let seed = 1; seed <= SEEDS; seed++) {
    const { violation } = await simulate(seed, new Trace());
    const broken = violation && `promise ${violation.promise}: ${violation.what}`;
    expect(broken, `replay with: npm run sim -- --seed ${seed}`).toBeUndefined();
  }
});

it("gives the same trace for the same seed", async () => {
  for (const seed of [1, 7, 23, 42]) {
    const [first, second] = [await simulate(seed, new Trace()), await simulate(seed, new Trace())];
    expect(first.lines).toBeGreaterThan(10);
    expect(second).toEqual(first);
  }
});
