import { constants } from "node:fs";
import { access, mkdtemp, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { badModel, chaos, firstModel, judgePredictions, tamper } from "./chapters.io.ts";
import type { Count } from "./checker.ts";
import { cmapssPlant } from "./cmapss.io.ts";
import { countAll } from "./count.io.ts";
import { endFleet, type Fleet, type Ground, startFleet } from "./fleet.io.ts";
import { type Learnt, learningLoop } from "./loop.io.ts";
import { devicesOf, executionsOf, type RolloutView } from "./models.io.ts";
import { type Options, parseOptions, USAGE } from "./options.ts";
import type { Plant } from "./plant.ts";
import { brokenPromises, type Report } from "./report.ts";
import { simulatedPlant } from "./simulated.io.ts";

const startedMs = performance.now();
const say = (line: string) => console.log(line);
const saySmall = (line: string) => say(`  ${line}`);
const chapter = (title: string) =>
  say(`\n${((performance.now() - startedMs) / 1000).toFixed(0).padStart(4)} s  ${title}`);

const CANARIES = 2;
/** As shells count a process that a signal ended. */
const EXIT_CODES = { SIGHUP: 129, SIGINT: 130, SIGTERM: 143 } as const;

/** Somebody wants the story to end. */
class Interrupted extends Error {
  readonly exitCode: number;
  constructor(signal: keyof typeof EXIT_CODES) {
    super(`interrupted by ${signal}`);
    this.exitCode = EXIT_CODES[signal];
  }
}

const options = parseOptions(process.argv.slice(2));
if (typeof options === "string") refuse(options);
else if (options.help) say(USAGE);
else {
  const plant = await plantOf(options).catch((cause: Error) => refuse(cause.message));
  if (plant) await tell(plant, options);
}

function refuse(why: string): undefined {
  console.error(`${why}\n\n${USAGE}`);
  process.exitCode = 2;
}

/** The plant of the options; throws what is wrong with the files they name, before anything is started. */
async function plantOf({ seed, cmapss, json }: Options): Promise<Plant> {
  if (json !== undefined) {
    const file = fromCaller(json);
    await access(dirname(file), constants.W_OK).catch(() => {
      throw new Error(`--json: the folder ${dirname(file)} cannot be written to`);
    });
    if (
      await stat(file).then(
        (found) => found.isDirectory(),
        () => false,
      )
    )
      throw new Error(`--json: ${file} is a folder`);
  }
  if (cmapss === undefined) return simulatedPlant(seed);
  return cmapssPlant(fromCaller(cmapss)).catch((cause: Error) => {
    throw new Error(`--cmapss: ${cause.message}`);
  });
}

/** A path as the caller means it: npm runs this in the project's folder and says where it was called. */
function fromCaller(path: string): string {
  return resolve(process.env["INIT_CWD"] ?? "", path);
}

/** Tells the whole story and leaves nothing behind, however it ends. */
async function tell(plant: Plant, options: Options): Promise<void> {
  const ended = Promise.withResolvers<never>();
  for (const signal of ["SIGHUP", "SIGINT", "SIGTERM"] as const) {
    process.on(signal, () => ended.reject(new Interrupted(signal)));
  }
  const folder = await mkdtemp(join(tmpdir(), "bellwether-demo-"));
  const ground: Ground = { folder, onDeath: ended.reject };
  let brokeOff = false;
  try {
    await Promise.race([ended.promise, toldOn(ground, plant, options)]);
  } catch (cause) {
    brokeOff = true;
    if (cause instanceof Interrupted) process.exitCode ??= cause.exitCode;
    else {
      process.exitCode = 1;
      console.error(`\nThe story broke off: ${(cause as Error).message}`);
    }
  } finally {
    await endFleet(ground);
  }
  // A chapter that was under way may wait for a while yet, for nothing.
  if (brokeOff) process.exit();
}

async function toldOn(ground: Ground, plant: Plant, options: Options): Promise<void> {
  chapter(`1. A fleet server and six agents, each a process of its own: ${plant.title}`);
  const fleet = await startFleet(plant, ground);
  const { report, learnt } = await story(fleet, plant, options);
  if (options.json !== undefined)
    await writeFile(fromCaller(options.json), `${JSON.stringify(report, undefined, 2)}\n`);
  const changed = plant.canChange && options.drift !== "none" ? options.driftCohort : null;
  const broken = brokenPromises(report, { canaries: CANARIES, changed, retrained: learnt.retrained });
  chapter(broken.length === 0 ? "Every promise held." : "Not every promise held:");
  for (const sentence of broken) say(`  - ${sentence}`);
  process.exitCode = broken.length === 0 ? 0 : 1;
  if (options.keep) await keep(fleet, plant, learnt);
}

async function story(fleet: Fleet, plant: Plant, options: Options): Promise<{ report: Report; learnt: Learnt }> {
  await Promise.all(fleet.agents.map((agent) => fleet.startAgent(agent, plant.rowsMax, plant.rowsPerSecond)));
  saySmall(`${fleet.url}: ${fleet.agents.map(({ share }) => `${share.device} (cohort ${share.cohort})`).join(", ")}`);

  chapter("2. A first model, from run-to-failure history to every device");
  const past = await plant.history();
  const first = await firstModel(fleet, plant, past, saySmall);

  chapter("3. Predictions against the truth, which only this story knows");
  const model = await judgePredictions(fleet, plant, past, first.version, saySmall);

  chapter(`4. A worthless model (${options.badModel}): the canary gate measures it without labels`);
  const bad = await badModel(fleet, plant, past, options.badModel, options.seed, saySmall);

  chapter("5. Tampering");
  const codes = await tamper(fleet, plant, saySmall);

  chapter("6. A kill, a cut and a half-open connection while data flow");
  sayCount(await chaos(fleet, plant, saySmall));

  const learnt = await learningLoop(fleet, plant, options, first.version, chapter, saySmall);

  chapter("At the end: every sample of the whole story, made again and compared value by value");
  const count = await countAll(fleet, plant, learnt.changes);
  sayCount(count);

  const { produced, committed, lost, duplicated } = count;
  const report = {
    seed: options.seed,
    devices: fleet.agents.length,
    samples: { produced, committed, lost, duplicated },
    model,
    rollouts: [await outcomeOf(fleet, first), await outcomeOf(fleet, bad)],
    tamper: { refused: codes.length, codes },
    drift: learnt.drift,
    retraining: learnt.retraining,
    seconds: Math.round((performance.now() - startedMs) / 100) / 10,
  };
  return { report, learnt };
}

function sayCount({ produced, committed, lost, duplicated, examples }: Count): void {
  saySmall(`${produced} samples made, ${committed} stored exactly so, ${lost} lost, ${duplicated} duplicated`);
  for (const example of examples) saySmall(`  ${example}`);
}

/** A rollout as the report tells it. Reverted means: no device runs that version any more. */
async function outcomeOf(
  fleet: Fleet,
  { id, model, version, phase }: RolloutView,
): Promise<Report["rollouts"][number]> {
  const executions = await executionsOf(fleet, id);
  const gone = executions.every((execution) => execution.activeVersion !== version);
  const devicesTouched = (await devicesOf(fleet, model, version, executions)).size;
  return { model, version, state: phase, reverted: phase === "reverted" && gone, devicesTouched };
}

async function keep(fleet: Fleet, plant: Plant, { changes }: Learnt): Promise<never> {
  await Promise.all(
    fleet.agents.map(async (agent) => {
      await agent.running?.stop();
      await fleet.startAgent(agent, plant.rowsMax, plant.rowsPerSecond, changes.get(agent.share.device));
    }),
  );
  say(`\n  It goes on running. ${fleet.url}`);
  say(`  npx bellwether --url ${fleet.url} --token-file ${fleet.tokenFile} devices list`);
  say("  Ctrl-C ends it and leaves nothing behind.");
  return new Promise(() => undefined);
}
