/**
 * The agent itself, as it is shipped, killed at the calls by which an update changes the disk, with the disk failing at
 * them, and with what was not yet synced torn. A sample of the points by default; BELLWETHER_CAMPAIGN=full takes them all.
 */
import { closeSync, ftruncateSync, openSync, readFileSync, statSync, writeSync } from "node:fs";
import { join } from "node:path";
import { UPDATE_PHASES, type UpdatePhase } from "@bellwether/protocol/messages/device.ts";
import type { DirectedModel } from "@bellwether/protocol/trust/director.ts";
import { expect, test } from "vitest";
import { temporaryFolder } from "../kit/folder.ts";
import { largeModel, testPackage, timesModel } from "../kit/packages.ts";
import { type DiskCall, diskCalls, injecting, noting, ONE_FILE_THREAD, wasInjected } from "../kit/syscalls.ts";
import { directorBytes, releaseOf, type TestRelease } from "../kit/tuf.ts";
import { startLane, type UpdateLane } from "../kit/update-lane.ts";
import { endedOn, goesOn, settle } from "../kit/update-lives.ts";
import { OLD, PATIENT } from "../kit/victims.ts";

const FULL = process.env["BELLWETHER_CAMPAIGN"] === "full";
const LIMITS = { timeout: 3 * 3_600_000 };
const LANES = FULL ? ["edge-1", "edge-2", "edge-3"] : ["edge-1", "edge-2"];

interface Story {
  readonly name: string;
  readonly release: TestRelease;
  readonly ends: string;
  readonly on: TestRelease;
  /** What the document asks of it. */
  readonly confirm: DirectedModel["confirm"];
}

const CONFIRM = { inferences: 5, soakMs: 0, deadlineMs: 60_000, errorFraction: 0 };
const GOOD = releaseOf(testPackage(largeModel(20, 2), [20, 40, 60], PATIENT), 2);
/** Good to its golden vectors, but beyond its range on every row that comes. */
const WORTHLESS = releaseOf(
  testPackage(timesModel(3), [3, 6, 9], {
    ...PATIENT,
    outputs: [{ name: "value", output: "out", meaning: "value", primary: true, range: [0, 10] }],
  }),
  3,
);
const STORIES: readonly Story[] = [
  {
    name: "a good model, first as a shadow",
    release: GOOD,
    ends: "succeeded",
    on: GOOD,
    confirm: { ...CONFIRM, shadow: { inferences: 5, durationMs: 100 } },
  },
  { name: "a worthless model", release: WORTHLESS, ends: "rolledBack", on: OLD, confirm: CONFIRM },
];

/** One of many tries: what happens to a device that takes a story's release. */
interface Trial {
  readonly story: Story;
  readonly call: DiskCall;
  readonly what: "kill" | "tear" | "ENOSPC" | "EIO";
  /** Whether the call comes every time. */
  readonly certain: boolean;
}

interface Device {
  readonly name: string;
  readonly lane: UpdateLane;
}

/** The device as it was, with the story's release to be heard of. */
function prepare({ name, lane }: Device, { release, confirm }: Story): void {
  lane.restore();
  lane.repository.publish(3, [OLD, release]);
  lane.wish = directorBytes(3, [release], { device: name, model: { confirm } });
}

/** Every call by which the story's update changes the disk, below the state directory. */
async function survey(device: Device, story: Story): Promise<DiskCall[]> {
  prepare(device, story);
  const { lane } = device;
  const file = join(temporaryFolder(), "calls");
  const agent = lane.start(noting(file), ONE_FILE_THREAD);
  await lane.until(story.name, agent, endedOn(story.ends, story.on));
  agent.signal("SIGKILL");
  await agent.ended;
  const parts = ["update.json", "slots", "tuf"].map((part) => join(lane.stateDir, part));
  return diskCalls(readFileSync(file, "utf8"), (path) => parts.some((part) => path.startsWith(part))).map((call) => ({
    ...call,
    path: call.path.slice(lane.stateDir.length),
  }));
}

/** Until a file is synced, power that fails may leave any part of it. */
function tear(path: string): void {
  const { size } = statSync(path);
  const file = openSync(path, "r+");
  if (size % 2 === 0) ftruncateSync(file, size >> 1);
  else writeSync(file, Buffer.alloc(size - (size >> 1)), 0, size - (size >> 1), size >> 1);
  closeSync(file);
}

/** Tries one; the phase that was on the disk when it struck, or undefined where the call did not come. */
async function attempt(device: Device, { story, call, what }: Trial): Promise<UpdatePhase | undefined> {
  prepare(device, story);
  const { lane, name } = device;
  const at = { ...call, path: join(lane.stateDir, call.path) };
  const dies = what === "kill" || what === "tear";
  const noted = join(temporaryFolder(), "calls");
  const agent = lane.start(injecting(at, dies ? "signal=SIGKILL" : `error=${what}`, noted), ONE_FILE_THREAD);
  const ended = endedOn(story.ends, story.on);
  if (dies) {
    const outcome = await lane.until(story.name, agent, ended).catch((cause: Error) => cause);
    if (!(outcome instanceof Error)) {
      agent.signal("SIGKILL");
      await agent.ended;
      return undefined;
    }
    if (outcome.message.startsWith("not within")) throw outcome;
  } else if (call.path.startsWith("/tuf")) {
    // Every refresh has a thread of its own, which meets its k-th call anew: this disk stays as bad as it is. Only to
    // remove what nobody needs any more may fail.
    await lane.until("the fault is told", agent, (snapshot) => {
      const told = JSON.stringify(agent.log()).includes("UPDATE_DISK_FAILED");
      return ended(snapshot) || (told && (snapshot.pipeline?.models[0]?.inferences ?? 0) > 50);
    });
  } else {
    // A disk that fails once takes nothing down: the update goes on in the same life.
    await lane.until(story.name, agent, ended);
  }
  agent.signal("SIGKILL");
  expect(await agent.ended).toBe("SIGKILL");
  if (!dies && !wasInjected(readFileSync(noted, "utf8"))) return undefined;
  const phase = lane.kept()?.phase;
  if (what === "tear") tear(at.path);
  await goesOn(device.lane, name, [OLD, story.release]);
  return phase;
}

/** Of each story's calls every so many-th, where not all are wanted. */
const some = <T>(all: readonly T[], count: number): T[] =>
  FULL
    ? [...all]
    : all.filter((_, i) => Math.floor((i * count) / all.length) !== Math.floor(((i - 1) * count) / all.length));

/**
 * How the network cuts a download decides how many writes it takes, and how often its progress is noted: the last of
 * them may not come another time.
 */
function isCertain({ syscall, path, k }: DiskCall, calls: readonly DiskCall[]): boolean {
  if (syscall === "pwrite64") return false;
  return path !== "/update.json.tmp" || calls.some((one) => one.path === path && one.syscall === syscall && one.k > k);
}

function trialsOf(story: Story, calls: readonly DiskCall[]): Trial[] {
  const certain = calls.filter((call) => isCertain(call, calls));
  const synced = calls.filter(
    ({ syscall, path }) => syscall === "fsync" && /\.\w+$/.test(path) && !path.endsWith(".partial"),
  );
  const even = (rest: number) =>
    some(
      calls.filter((_, i) => i % 2 === rest),
      1,
    );
  // Once this ended in a device without any metadata.
  const removals = calls.filter(({ syscall, path }) => syscall === "unlinkat" && path.startsWith("/tuf/")).slice(0, 1);
  const of = (what: Trial["what"], points: readonly DiskCall[]) =>
    points.map((call) => ({ story, call, what, certain: certain.includes(call) }));
  return [
    // How a download is cut into writes is the network's choice: where every kill counts, none waits for the last of them.
    ...of("kill", FULL ? calls : some(certain, 4)),
    ...of("tear", some(synced, 1)),
    ...of("ENOSPC", [...new Set([...even(0), ...removals])]),
    ...of("EIO", even(1)),
  ];
}

test(
  "whatever befalls the agent during an update, it goes on alone with what was released, and takes the next",
  LIMITS,
  async () => {
    const devices: Device[] = [];
    for (const name of LANES) {
      const lane = await startLane(name);
      await settle(lane, name);
      devices.push({ name, lane });
    }
    const surveys = await Promise.all(
      STORIES.map(async (story, i) => trialsOf(story, await survey(devices[i]!, story))),
    );
    // The kills come first: whoever has to end the whole of it early has those.
    const left = surveys.flat().sort((a, b) => Number(isKilled({ trial: b })) - Number(isKilled({ trial: a })));
    const struck: { trial: Trial; phase: string }[] = [];
    const missed: Trial[] = [];
    const failures: string[] = [];
    await Promise.all(
      devices.map(async (device) => {
        for (let trial = left.shift(); trial !== undefined; trial = left.shift()) {
          try {
            const phase = await attempt(device, trial);
            if (phase) struck.push({ trial, phase });
            else missed.push(trial);
            if (FULL) console.log(`${left.length} left; ${nameOf(trial)}: ${phase ?? "not met"}`);
          } catch (cause) {
            failures.push(`${nameOf(trial)}: ${(cause as Error).message}`);
            // The whole of it takes an hour: whoever watches hears of a failure when it happens.
            console.log(failures.at(-1));
          }
        }
      }),
    );
    console.log(summary(struck, missed, failures));
    expect(failures).toEqual([]);
    expect(missed.filter(({ certain }) => certain).map(nameOf)).toEqual([]);
    const kills = struck.filter(isKilled);
    const distinct = new Set(
      kills.map(({ trial: { call }, phase }) => `${phase} ${call.syscall} ${call.path} ${call.k}`),
    );
    expect(kills.length).toBeGreaterThanOrEqual(FULL ? 200 : 8);
    if (!FULL) return;
    expect(distinct.size).toBeGreaterThanOrEqual(100);
    expect([...new Set(kills.map(({ phase }) => phase))].sort()).toEqual([...UPDATE_PHASES].sort());
  },
);

const nameOf = ({ story, what, call }: Trial): string =>
  `${story.name}: ${what} at ${call.syscall} ${call.k} of ${call.path}`;

/** Where a file is torn afterwards the agent was killed all the same. */
const isKilled = ({ trial: { what } }: { readonly trial: Trial }): boolean => what === "kill" || what === "tear";

function summary(
  struck: readonly { trial: Trial; phase: string }[],
  missed: readonly Trial[],
  failures: readonly string[],
) {
  const rows = new Map<string, number>();
  for (const { trial, phase } of struck) {
    const key = `${trial.what.padEnd(7)} ${phase.padEnd(12)} ${trial.call.syscall}`;
    rows.set(key, (rows.get(key) ?? 0) + 1);
  }
  const lines = [...rows].sort(([a], [b]) => (a < b ? -1 : 1)).map(([key, count]) => `${key.padEnd(34)} ${count}`);
  const kills = struck.filter(isKilled).length;
  const end = `${kills} kills, ${struck.length - kills} faults, ${missed.length} not met, ${failures.length} failures`;
  return [...lines, end].join("\n");
}
