import { until } from "./api.io.ts";
import type { Prediction, Say } from "./chapters.io.ts";
import { errorsAtEqualLife, errorsOf } from "./checker.ts";
import { type Changes, expectedRows, goOn, reached, rowsAtRest } from "./count.io.ts";
import type { Fleet } from "./fleet.io.ts";
import { devicesOf, executionsOf } from "./models.io.ts";
import type { Options } from "./options.ts";
import { type Change, cappedRul, type Plant } from "./plant.ts";
import type { Expectation, Report } from "./report.ts";

/** What the second half of the story found, and which devices' processes it changed. */
export interface Learnt extends Pick<Report, "drift" | "retraining">, Pick<Expectation, "retrained"> {
  readonly changes: Changes;
}

/** Rows until the process changes, and from when it is seen to until every machine has failed at least once. */
const QUIET_ROWS = 40;
const CHANGED_ROWS = 320;
/** Rows in which it is called on plants where it hides behind the wear for long; most need a fifth of them. */
const CALLED_ROWS_MAX = 1_000;
/** Rows in which nothing may be called where nothing changes. */
const WATCHED_ROWS = 200;
/** Speeds while drift is watched for, and while a model is retrained and rolled out. */
const FAST = 16;
const STEADY = 8;
/** Rows of a held-out asset that the retrained version is judged by. */
const JUDGED_ROWS = 60;

interface Verdict {
  readonly cohort: string;
  readonly phase: string;
  readonly text: string;
  readonly enteredToMs: number;
  readonly sinceMs: number | null;
}
interface Retraining {
  readonly id: string;
  readonly phase: string;
  readonly version: number | null;
  readonly approvedBy: string | null;
  readonly rolloutId: string | null;
  readonly error: { readonly message: string } | null;
  readonly result: {
    readonly assets: readonly string[];
    readonly holdoutAssets: readonly string[];
    readonly championRmse: number;
    readonly meanRmse: number;
    readonly chosen: string | null;
    readonly reason: string;
    readonly candidates: readonly { candidate: string; rmse: number; upper: number }[];
  } | null;
}

/** Chapters 7 to 9: one cohort's process changes, it is called, the cohort is retrained, and that pays. */
export async function learningLoop(
  fleet: Fleet,
  plant: Plant,
  options: Options,
  champion: number,
  chapter: (title: string) => void,
  say: Say,
): Promise<Learnt> {
  const cohort = options.driftCohort;
  const kind = plant.canChange ? options.drift : "none";
  chapter(
    kind === "none"
      ? "7. Nothing changes but wear: nothing may be called"
      : `7. The process of cohort ${cohort} changes (${kind}) while wear goes on in both`,
  );
  for (const name of ["A", "B"]) await fleet.cli("cohorts", "set", name, `cohort=${name}`);
  const fromRow = (await rowsAtRest(fleet)) + QUIET_ROWS;
  if (kind === "none") return await nothingCalled(fleet, plant, fromRow, say);
  const change: Change = { kind, fromRow };
  const changes: Changes = new Map(devicesIn(fleet, cohort).map((device) => [device, change]));
  await goOn(fleet, fromRow + CALLED_ROWS_MAX + CHANGED_ROWS, FAST, changes);
  const holdoutAssets = assetsOf(fleet, cohort).filter((_, index) => index % 3 === 2);
  await fleet.cli("delegations", "grant", plant.model, cohort);
  const { drift, seenRow } = await callOf(fleet, plant, cohort, change, say);

  chapter(`8. Labels arrive; cohort ${cohort} is retrained, released by its own role, and rolled out to it alone`);
  await askForRetraining(fleet, plant, cohort, holdoutAssets);
  const labelledRows = Math.max(fromRow, seenRow) + CHANGED_ROWS;
  await reached(fleet, plant, assetsOf(fleet, cohort), labelledRows - 1);
  const labels = await postOutcomes(fleet, plant, cohort, change, labelledRows);
  say(`${labels} failures recorded; held out of everything: ${holdoutAssets.join(", ")}`);
  await goOn(fleet, plant.rowsMax, STEADY, changes);
  const job = await retrained(fleet, cohort, say);

  chapter("9. Did it pay? Predictions on assets that no training ever saw, against the truth");
  const paid = await judged(fleet, plant, cohort, change, champion, job, holdoutAssets, say);
  return { drift, ...paid, changes };
}

function devicesIn(fleet: Fleet, cohort: string): string[] {
  return fleet.agents.filter(({ share }) => share.cohort === cohort).map(({ share }) => share.device);
}

function assetsOf(fleet: Fleet, cohort: string): string[] {
  return fleet.agents.filter(({ share }) => share.cohort === cohort).flatMap(({ share }) => share.assets);
}

async function verdictsOf(fleet: Fleet, plant: Plant): Promise<readonly Verdict[]> {
  return (await fleet.api.get<{ items: Verdict[] }>(`/v1/drift?model=${plant.model}`)).items;
}

/** Cohorts that were ever called drifted. */
async function calledEver(fleet: Fleet, plant: Plant): Promise<Set<string>> {
  const called = new Set<string>();
  for (const { cohort } of await verdictsOf(fleet, plant)) {
    const { history } = await fleet.api.get<{ history: Verdict[] }>(`/v1/drift/${cohort}/${plant.model}`);
    if (history.some(({ phase }) => phase === "drifted")) called.add(cohort);
  }
  return called;
}

async function nothingCalled(fleet: Fleet, plant: Plant, fromRow: number, say: Say): Promise<Learnt> {
  const changes: Changes = new Map();
  const rows = Math.min(plant.rowsMax, fromRow + WATCHED_ROWS);
  await goOn(fleet, rows, FAST, changes);
  const expected = await expectedRows(plant, rows, changes);
  for (const [asset, own] of Map.groupBy(expected, (row) => row.asset)) {
    await reached(fleet, plant, [asset], own.length - 1);
  }
  const verdicts = await until(
    "both cohorts are judged",
    async () => {
      const now = await verdictsOf(fleet, plant);
      // Engines that are replayed from a file may end before they have windows enough.
      const judged = now.filter(({ phase }) => phase !== "waiting");
      return !plant.canChange || judged.length === 2 ? now : undefined;
    },
    30_000,
  );
  for (const { text } of verdicts) say(text);
  const called = await calledEver(fleet, plant);
  const drift = { cohort: null, calledAfterWindows: null, falseCohorts: called.size };
  return { drift, retraining: null, retrained: null, changes };
}

/** What was called, and from which row on it is seen: failures since then are what a retraining can learn from. */
async function callOf(
  fleet: Fleet,
  plant: Plant,
  cohort: string,
  change: Change,
  say: Say,
): Promise<{ drift: Learnt["drift"]; seenRow: number }> {
  const changedAtMs = plant.startMs + change.fromRow * plant.stepMs;
  const called = await until(
    `drift is called on cohort ${cohort}`,
    async () => (await verdictsOf(fleet, plant)).find((one) => one.cohort === cohort && one.phase === "drifted"),
    120_000,
  );
  say(called.text);
  const { items } = await fleet.api.get<{ items: { record: { fromMs: number; observedAtMs: number } }[] }>(
    `/v1/drift-windows?model=${plant.model}&limit=1`,
  );
  const windowMs = items.map(({ record }) => record.observedAtMs - record.fromMs + plant.stepMs)[0] ?? plant.stepMs;
  const calledAfterWindows = Math.ceil((called.enteredToMs - changedAtMs) / windowMs);
  const others = [...(await calledEver(fleet, plant))].filter((name) => name !== cohort);
  say(
    `called ${calledAfterWindows} windows after the change; on the other cohort: ${others.length === 0 ? "nothing" : "DRIFT"}`,
  );
  const seenRow = ((called.sinceMs ?? changedAtMs) - plant.startMs) / plant.stepMs;
  return { drift: { cohort, calledAfterWindows, falseCohorts: others.length }, seenRow: Math.ceil(seenRow) };
}

/** The policy that lets a cohort be retrained, released and rolled out to by itself. */
async function askForRetraining(
  fleet: Fleet,
  plant: Plant,
  cohort: string,
  holdoutAssets: readonly string[],
): Promise<void> {
  // How far scores move is what a retraining is for: its gates look at errors and latency.
  const gates = ["inference-errors", "latency"];
  const wave = { soakMinutes: 0.05, errorAction: "REVERT", gates };
  await fleet.api.put(`/v1/retraining-policies/${plant.model}/${cohort}`, {
    mode: "auto",
    holdoutAssets,
    rollout: {
      waves: [
        { name: "canary", targetPercentage: 33, ...wave },
        { name: "rest", targetPercentage: 100, ...wave },
      ],
      confirm: { inferences: 30, soakSeconds: 3, deadlineSeconds: 60 },
      gateTimeoutMinutes: 0.5,
    },
  });
}

/** Records every failure among the rows so far, as maintenance would. */
async function postOutcomes(fleet: Fleet, plant: Plant, cohort: string, change: Change, rows: number): Promise<number> {
  const agents = plant.agents.filter((agent) => agent.cohort === cohort);
  const truth = (await Promise.all(agents.map((agent) => agent.expected(rows, change)))).flat();
  const failures = truth.filter((row) => row.rul === 0);
  const outcomes = failures.map(({ asset, observedAtMs }) => ({ asset, kind: "failure", atMs: observedAtMs }));
  await fleet.api.post("/v1/outcomes", { outcomes });
  return outcomes.length;
}

async function retrained(fleet: Fleet, cohort: string, say: Say): Promise<Retraining> {
  let shown = "";
  return until(
    `cohort ${cohort} is retrained`,
    async () => {
      const [job] = (await fleet.api.get<{ items: Retraining[] }>(`/v1/retrainings?cohort=${cohort}&limit=1`)).items;
      if (job === undefined) return undefined;
      if (job.phase !== shown) {
        shown = job.phase;
        say(job.phase === "releasing" ? `${job.phase}: ${job.result?.reason ?? ""}` : job.phase);
      }
      if (job.phase === "failed" || job.phase === "rejected") {
        throw new Error(`the retraining ended ${job.phase}: ${job.error?.message ?? job.result?.reason ?? ""}`);
      }
      return job.phase === "released" ? job : undefined;
    },
    150_000,
  );
}

async function judged(
  fleet: Fleet,
  plant: Plant,
  cohort: string,
  change: Change,
  champion: number,
  job: Retraining,
  holdoutAssets: readonly string[],
  say: Say,
): Promise<Pick<Learnt, "retraining" | "retrained">> {
  const changedAtMs = plant.startMs + change.fromRow * plant.stepMs;
  const found = await until(
    `${JUDGED_ROWS} predictions of version ${job.version} for each of ${holdoutAssets.join(", ")}`,
    async () => {
      const all = await Promise.all(
        holdoutAssets.map((asset) => fleet.api.all<Prediction>(`/v1/predictions?model=${plant.model}&asset=${asset}`)),
      );
      const own = all.flat().filter((one) => one.value !== undefined && one.observedAtMs >= changedAtMs);
      const counts = holdoutAssets.map((asset) =>
        own.filter((one) => one.asset === asset && one.version === job.version),
      );
      return counts.every(({ length }) => length >= JUDGED_ROWS) ? own : undefined;
    },
    120_000,
  );
  const truth = await truthOf(plant, cohort, change, Math.max(...found.map((one) => one.observedAtMs)));
  const judgedOf = (version: number | null) =>
    found.flatMap((one) => {
      const known = truth.get(`${one.asset}@${one.observedAtMs}`);
      return one.version !== version || known === undefined
        ? []
        : [{ asset: one.asset, value: one.value as number, truth: known }];
    });
  const mean = [...truth.values()].reduce((sum, rul) => sum + rul, 0) / truth.size;
  const later = judgedOf(job.version);
  const { rmseMean } = errorsOf(later, mean);
  const { before, after, rows } = errorsAtEqualLife(judgedOf(champion), later);
  const { result } = job;
  const chosen = result?.candidates.find(({ candidate }) => candidate === result.chosen);
  if (result === null || chosen === undefined) throw new Error("the retraining says nothing of how it was measured");
  const moved = result.candidates.find(({ candidate }) => candidate === "new-baseline");
  say(`learnt from and measured on ${result.assets.join(", ")}, never by the same model:`);
  say(
    `  champion ${result.championRmse.toFixed(1)}, champion with a new baseline ${moved?.rmse.toFixed(1)}, ${chosen.candidate} ${chosen.rmse.toFixed(1)}, always the mean ${result.meanRmse.toFixed(1)}`,
  );
  say(
    `on ${holdoutAssets.join(", ")}, at equal remaining life: RMSE ${before.toFixed(1)} before, ${after.toFixed(1)} after (${rows} rows); always the mean ${rmseMean.toFixed(1)}`,
  );
  const executions = await executionsOf(fleet, job.rolloutId ?? "");
  const touched = await devicesOf(fleet, plant.model, job.version ?? 0, executions);
  const outsideCohort = touched.difference(new Set(devicesIn(fleet, cohort))).size;
  say(`devices outside cohort ${cohort} that were touched: ${outsideCohort}`);
  return {
    retraining: {
      cohort,
      candidate: chosen.candidate,
      rmseBefore: before,
      rmseAfter: after,
      ciUpperRatio: chosen.upper,
    },
    retrained: { rmseMean, outsideCohort },
  };
}

/** Remaining life of the cohort's assets since the change, by asset and time. */
async function truthOf(plant: Plant, cohort: string, change: Change, toMs: number): Promise<Map<string, number>> {
  const rows = (toMs - plant.startMs) / plant.stepMs + 1;
  const agents = plant.agents.filter((agent) => agent.cohort === cohort);
  const expected = (await Promise.all(agents.map((agent) => agent.expected(rows, change)))).flat();
  const since = expected.filter((row) => row.observedAtMs >= plant.startMs + change.fromRow * plant.stepMs);
  return new Map(since.map((row) => [`${row.asset}@${row.observedAtMs}`, cappedRul(row, plant.cap)]));
}
