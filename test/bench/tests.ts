import { spawn } from "node:child_process";
import { once } from "node:events";
import type { Bench } from "./bench.ts";

/** What everybody waits for. */
export const tests: Bench = {
  what: "minutes of `npm test`: checks and every suite",
  over: "nothing: a plain figure",
  unit: "min",
  goal: { of: "value", most: 10 },
  rounds: 1,
  open: async () => ({
    async value() {
      const startMs = performance.now();
      const child = spawn("npm", ["test"], { stdio: ["ignore", "ignore", "inherit"] });
      const [code] = await once(child, "close");
      if (code !== 0) throw new Error(`npm test ended with ${code}: only a suite that passes has a wall time`);
      return (performance.now() - startMs) / 60_000;
    },
    close: async () => undefined,
  }),
};
