/** Bare `session.run` of the benchmark's model at batch 1, one thread, and its processor time a run: `node test/bench/agent/session.ts`. */
import { InferenceSession, Tensor } from "onnxruntime-node";
import { network } from "./model.ts";

const session = await InferenceSession.create(network(), { intraOpNumThreads: 1, interOpNumThreads: 1 });
const data = Float32Array.from({ length: 24 }, (_, i) => i);

/** Runs for so long; runs a second. */
async function runFor(ms: number): Promise<number> {
  const startMs = performance.now();
  let runs = 0;
  while (performance.now() - startMs < ms) {
    for (let i = 0; i < 100; i++) await session.run({ in: new Tensor("float32", data, [1, 24]) }, ["out"]);
    runs += 100;
  }
  return (runs / (performance.now() - startMs)) * 1_000;
}

await runFor(1_000);
const before = process.cpuUsage();
const figure = await runFor(3_000);
const { user, system } = process.cpuUsage(before); // of three seconds
const cpuUs = (user + system) / (figure * 3);
process.stdout.write(`${JSON.stringify({ figure, cpuUs })}\n`);
