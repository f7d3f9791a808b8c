import { writeFile } from "node:fs/promises";
import { badModel, chaos, firstModel, judgePredictions, tamper } from "./chapters.io.ts";
import { cmapssPlant } from "./cmapss.io.ts";
import { type Fleet, startFleet } from "./fleet.io.ts";
import { learningLoop } from "./loop.io.ts";
import { executionsOf, type RolloutView } from "./models.io.ts";
import { type Options, parseOptions, USAGE } from "./options.ts";
import type { Plant } from "./plant.ts";
import { brokenPromises, type Report } from "./report.ts";
import { simulatedPlant } from "./simulated.io.ts";

const startedMs = performance.now();
const say = (line: string) => console.log(line);
const chapter = (title: string) =>
  say(`\n${((performance.now() - startedMs) / 1000).toFixed(0).padStart(4)} s  ${title}`);

const CANARIES = 2;

if (process.argv.includes("--help")) {
  say(USAGE);
} else {
  const options = parseOptions(process.argv.slice(2));
  if (typeof options === "string") {
    console.error(`${options}\n\n${USAGE}`);
    process.exitCode = 2;
  } else process.exitCode = await tell(options);
}

/** Tells the whole story; 0 when every promise held. */
async function tell(options: Options): Promise<number> {
  const plant = options.cmapss === undefined ? simulatedPlant(options.seed) : await cmapssPlant(options.cmapss);
  chapter(`1. A fleet server and six agents, each a process of its own: ${plant.title}`);
  const fleet = await startFleet(plant);
  let interrupted = false;
  const stop = () => {
    interrupted = true;
    void fleet.close().then(() => process.exit(130));
  };
  process.once("SIGINT", stop).once("SIGTERM", stop);
  try {
    const report = await story(fleet, plant, options);
    const changed = plant.canChange && options.drift !== "none" ? options.driftCohort : null;
    const broken = brokenPromises(report, CANARIES, changed);
    if (options.json !== undefined) await writeFile(options.json, `${JSON.stringify(report, undefined, 2)}\n`);
    chapter(broken.length === 0 ? "Every promise held." : "Not every promise held:");
    for (const sentence of broken) say(`  - ${sentence}`);
    if (options.keep) await keep(fleet);
    return broken.length === 0 ? 0 : 1;
  } catch (cause) {
    if (!interrupted) console.error(`\nThe story broke off: ${(cause as Error).message}`);
    return 1;
  } finally {
    if (!interrupted) await fleet.close();
  }
}

async function story(fleet: Fleet, plant: Plant, options: Options): Promise<Report> {
  await Promise.all(fleet.agents.map((agent) => fleet.startAgent(agent, plant.rowsMax, plant.rowsPerSecond)));
  say(`  ${fleet.url}: ${fleet.agents.map(({ share }) => `${share.device} (cohort ${share.cohort})`).join(", ")}`);

  chapter("2. A first model, from run-to-failure history to every device");
  const past = await plant.history();
  const first = await firstModel(fleet, plant, past, (line) => say(`  ${line}`));

  chapter("3. Predictions against the truth, which only this story knows");
  const model = await judgePredictions(fleet, plant, past, first.version, (line) => say(`  ${line}`));

  chapter(`4. A worthless model (${options.badModel}): the canary gate measures it without labels`);
  const bad = await badModel(fleet, plant, past, options.badModel, options.seed, (line) => say(`  ${line}`));

  chapter("5. Tampering");
  const codes = await tamper(fleet, plant, (line) => say(`  ${line}`));

  chapter("6. A kill, a cut and a half-open connection while data flow");
  const count = await chaos(fleet, plant, (line) => say(`  ${line}`));
  const { produced, committed, lost, duplicated } = count;
  say(`  ${produced} samples made, ${committed} stored exactly so, ${lost} lost, ${duplicated} duplicated`);
  for (const example of count.examples) say(`    ${example}`);

  const loop = await learningLoop(fleet, plant, options, first.version, chapter, (line) => say(`  ${line}`));

  return {
    seed: options.seed,
    devices: fleet.agents.length,
    samples: { produced, committed, lost, duplicated },
    model,
    rollouts: [await outcomeOf(fleet, first), await outcomeOf(fleet, bad)],
    tamper: { refused: codes.length, codes },
    ...loop,
    seconds: Math.round((performance.now() - startedMs) / 100) / 10,
  };
}

/** A rollout as the report tells it. Reverted means: no device runs that version any more. */
async function outcomeOf(fleet: Fleet, rollout: RolloutView): Promise<Report["rollouts"][number]> {
  const executions = await executionsOf(fleet, rollout.id);
  const gone = executions.every((execution) => execution.activeVersion !== rollout.version);
  return {
    model: rollout.model,
    version: rollout.version,
    state: rollout.phase,
    reverted: rollout.phase === "reverted" && gone,
    devicesTouched: rollout.devicesTouched,
  };
}

async function keep(fleet: Fleet): Promise<void> {
  say(`\n  It goes on running. ${fleet.url}`);
  say(`  npx bellwether --url ${fleet.url} --token-file ${fleet.tokenFile} devices list`);
  say("  Ctrl-C ends it and leaves nothing behind.");
  await new Promise(() => undefined);
}
