import { parseArgs } from "node:util";
import { Coverage, tellCoverage } from "./coverage.ts";
import { Trace } from "./world.ts";

const { values } = parseArgs({
  options: {
    seeds: { type: "string", default: "200" },
    from: { type: "string", default: "1" },
    seed: { type: "string" },
    first: { type: "boolean", default: false },
    coverage: { type: "boolean", default: false },
  },
});

const coverage = new Coverage();
if (values.coverage) await coverage.begin();
// Only now: what a module does while it is loaded counts, too.
const { simulate } = await import("./fleet.ts");

if (values.seed !== undefined) {
  const outcome = await simulate(Number(values.seed), new Trace(console.log));
  console.log(JSON.stringify(outcome.plan));
  console.log(outcome.violation ? `broken: ${outcome.violation.what}` : "every promise held", outcome.digest);
  process.exitCode = outcome.violation ? 1 : 0;
} else {
  const from = Number(values.from);
  let failed = 0;
  let [rows, downsampled] = [0, 0];
  const began = process.cpuUsage();
  for (let seed = from; seed < from + Number(values.seeds); seed++) {
    const { violation, ...outcome } = await simulate(seed, new Trace());
    rows += outcome.rows;
    downsampled += outcome.downsampled;
    if (!violation) continue;
    failed++;
    console.log(`seed ${seed}: promise ${violation.promise} is broken: ${violation.what}`);
    console.log(`  replay: npm run sim -- --seed ${seed}`);
    if (values.first) break;
  }
  const { user, system } = process.cpuUsage(began);
  console.log(
    `${values.seeds} seeds, ${failed} broken, ${rows} rows (${downsampled} downsampled), ${((user + system) / 1e6).toFixed(1)} s of CPU`,
  );
  if (values.coverage) console.log(tellCoverage(await coverage.end()));
  process.exitCode = failed === 0 ? 0 : 1;
}
