import { digestOf } from "@bellwether/protocol/package/check.ts";
import { seededRandom, shuffle } from "@bellwether/protocol/random.ts";
import { err, ok, type Result } from "@bellwether/protocol/result.ts";
import { integer } from "@bellwether/protocol/schema.ts";
import { type Static, Type } from "typebox";
import { type ErrorRatio, errorRatio } from "./bootstrap.ts";
import { CANDIDATES, type CandidateInput, type CandidateName, makeCandidate, saysOf } from "./candidates.ts";
import type { HistoryAsset, HistorySnapshot } from "./history/snapshot.ts";
import { evaluate } from "./metrics.ts";
import type { TrainingRequest } from "./order.ts";
import { type BuiltPackage, buildPackage, modelBytes } from "./package.ts";
import { rowsAt } from "./prepare.ts";
import { isBinary } from "./targets.ts";
import { planTraining, type TrainingPlan } from "./train.ts";
import { trainGbdt } from "./trainers/gbdt.ts";

/** A retraining as its thread gets it. */
export interface RetrainOrder {
  readonly id: string;
  /** The request the champion was trained by. */
  readonly request: TrainingRequest;
  /** Digests of the champion's history and of the cohort's snapshot. */
  readonly base: string;
  readonly fleet: string;
  /** Digests of the champion's model file and manifest. */
  readonly championModel: string;
  readonly champion: string;
  /** Assets of the cohort that nothing learns from and nothing is measured on. */
  readonly holdoutAssets: readonly string[];
  /** When the process changed: only rows from then on tell how a model does now. */
  readonly sinceMs: number | null;
  /** Assets by every cohort they are in: none may get worse. */
  readonly cohorts: Readonly<Record<string, readonly string[]>>;
}

const closed = { additionalProperties: false } as const;
const Figure = Type.Number();

/** How a candidate did on assets it had not learnt from. */
export const CandidateResult = Type.Object(
  {
    candidate: Type.String(),
    rmse: Figure,
    ratio: Type.Number({ description: "To the champion's error on the same rows." }),
    lower: Type.Number({ description: "95 % interval of the ratio, by a paired bootstrap of whole assets." }),
    upper: Figure,
    worstCohort: Type.Union([Type.Object({ cohort: Type.String(), ratio: Figure }, closed), Type.Null()]),
    wins: Type.Boolean({
      description: "At least 5 % better, the whole interval below 1, and no cohort got worse by more than 5 %.",
    }),
  },
  closed,
);
export type CandidateResult = Static<typeof CandidateResult>;

/** What a retraining found. */
export const RetrainingResult = Type.Object(
  {
    championRmse: Type.Number({ description: "Of the champion, on the same assets and rows as the candidates." }),
    meanRmse: Type.Number({ description: "Of always saying the mean of what was learnt from." }),
    rows: integer(),
    assets: Type.Array(Type.String(), { description: "Learnt from and measured on, never by the same model." }),
    holdoutAssets: Type.Array(Type.String(), { description: "Kept from both." }),
    folds: integer(),
    candidates: Type.Array(CandidateResult),
    chosen: Type.Union([Type.String(), Type.Null()]),
    reason: Type.String(),
  },
  closed,
);
export type RetrainingResult = Static<typeof RetrainingResult>;

export interface Retrained {
  readonly result: RetrainingResult;
  /** Of the chosen candidate; undefined when none won. */
  readonly package: BuiltPackage | undefined;
}

export const RETRAINING_ASSETS_MIN = 3;
const FOLDS_MAX = 3;
/** Less of a gain is not worth a rollout. */
const RATIO_MAX = 0.95;
/** No cohort may get worse by more than this. */
const WORSE_MAX = 1.05;
/** Rows of a cohort below which its own ratio says nothing. */
const COHORT_ROWS_MIN = 30;

/**
 * A retraining: the champion is grown again from its history and must come out bit by bit, candidates are measured on
 * assets they did not learn from, and the simplest that is as good as the best is packaged. The same order gives the
 * same bytes.
 */
export function retrain(
  order: RetrainOrder,
  base: HistorySnapshot,
  fleet: HistorySnapshot,
  onProgress: (done: number, step: string) => void,
): Result<Retrained> {
  onProgress(0, "growing the champion again");
  const cohortAssets = assetsOfCohort(base, fleet);
  const planned = planTraining(order.request, base, cohortAssets);
  if (!planned.ok) return planned;
  const plan = planned.value;
  const champion = trainGbdt(rowsAt(plan.prepared, plan.finalRows), plan.loss, plan.parameters, plan.seed);
  if (digestOf(modelBytes(champion, plan.transform, plan.wanted)) !== order.championModel) {
    return err("RETRAINING_CHAMPION_DIFFERS", { run: order.id });
  }
  const rows = cohortRows(order, plan, base, cohortAssets);
  const groups = [...new Set(Array.from(rows, (row) => plan.prepared.groups[row]!))];
  if (groups.length < RETRAINING_ASSETS_MIN) {
    return err("RETRAINING_ASSETS_TOO_FEW", { actual: groups.length, needed: RETRAINING_ASSETS_MIN });
  }
  const input: Omit<CandidateInput, "cohort"> = {
    ...plan,
    champion,
    base: plan.finalRows,
    isHealthy: isBinary(order.request.target) ? (y) => y === 0 : healthyAbove(plan),
  };
  const folds = foldsOf(groups, plan.seed);
  const measured = measureAll(order, plan, input, rows, folds, [...base.assets, ...cohortAssets], onProgress);
  const { result, says } = measured;
  if (result.chosen === null) return ok({ result, package: undefined });
  onProgress(0.9, `growing ${result.chosen}`);
  const model = makeCandidate(result.chosen as CandidateName, { ...input, cohort: rows });
  const unseenScores = says.get(result.chosen as CandidateName)!;
  const truth = Float64Array.from(rows, (row) => plan.prepared.target[row]!);
  const groupOf = Int32Array.from(rows, (row) => plan.prepared.groups[row]!);
  const built = buildPackage({
    order: { run: order.id, request: order.request, snapshot: order.fleet, parent: order.champion },
    plan: plan.features,
    model,
    transform: plan.transform,
    evaluation: evaluate(unseenScores, truth, groupOf, meanOf(truth), isBinary(order.request.target)),
    prepared: plan.prepared,
    rows,
    unseenScores,
    wanted: plan.wanted,
    snapshot: { ...base, assets: [...base.assets, ...cohortAssets] },
    seed: plan.seed,
  });
  return ok({ result, package: built });
}

/** The cohort's assets with the history's channels, by name; what a device does not measure is missing. */
function assetsOfCohort(base: HistorySnapshot, fleet: HistorySnapshot): HistoryAsset[] {
  const places = base.channels.map(({ channel, unit }) =>
    fleet.channels.findIndex((one) => one.channel === channel && one.unit === unit),
  );
  return fleet.assets.map((asset) => ({
    ...asset,
    target: undefined,
    channels: places.map((place) => asset.channels[place] ?? new Float64Array(asset.timesMs.length).fill(Number.NaN)),
  }));
}

/**
 * Rows of the cohort that candidates learn from and are measured on: of labelled assets that are not held out, from the
 * change on. Windows that still reach back over the change are left out: they are neither of the old nor of the new.
 */
function cohortRows(
  { holdoutAssets, sinceMs }: RetrainOrder,
  { prepared, features }: TrainingPlan,
  base: HistorySnapshot,
  assets: readonly HistoryAsset[],
): Uint32Array {
  const heldOut = new Set(holdoutAssets);
  const { window } = features.manifest;
  const embargoRows = sinceMs !== null && window.kind === "count" ? window.length : 0;
  const first = assets.map(({ asset, timesMs }) => {
    const from = timesMs.findIndex((atMs) => atMs >= (sinceMs ?? 0));
    return from < 0 || heldOut.has(asset) ? Number.POSITIVE_INFINITY : from + embargoRows;
  });
  return Uint32Array.from(prepared.groups.keys()).filter((row) => {
    const own = prepared.groups[row]! - base.assets.length;
    return own >= 0 && prepared.historyRows[row]! >= first[own]!;
  });
}

function healthyAbove({ transform }: TrainingPlan): (target: number) => boolean {
  const top = transform.kind === "identity" ? (transform.range?.[1] ?? Number.POSITIVE_INFINITY) : 1;
  return (target) => target >= top;
}

function foldsOf(groups: readonly number[], seed: number): Set<number>[] {
  const drawn = shuffle([...groups], seededRandom(seed, 32));
  const count = Math.min(FOLDS_MAX, groups.length);
  return Array.from({ length: count }, (_, fold) => new Set(drawn.filter((_group, i) => i % count === fold)));
}

function measureAll(
  order: RetrainOrder,
  plan: TrainingPlan,
  input: Omit<CandidateInput, "cohort">,
  rows: Uint32Array,
  folds: readonly ReadonlySet<number>[],
  assets: readonly HistoryAsset[],
  onProgress: (done: number, step: string) => void,
) {
  const { prepared, transform } = plan;
  const truth = Float64Array.from(rows, (row) => prepared.target[row]!);
  const groups = Int32Array.from(rows, (row) => prepared.groups[row]!);
  const squares = (says: Float64Array) => says.map((value, i) => (value - truth[i]!) ** 2);
  const champion = squares(saysOf(input.champion, transform, prepared, rows));
  const says = new Map<CandidateName, Float64Array>();
  const results = CANDIDATES.map((name, c): CandidateResult => {
    const own = new Float64Array(rows.length);
    for (const [fold, out] of folds.entries()) {
      onProgress(0.1 + (0.8 * (c + fold / folds.length)) / CANDIDATES.length, `measuring ${name}`);
      const learnt = rows.filter((_, i) => !out.has(groups[i]!));
      const places = Array.from(rows.keys()).filter((i) => out.has(groups[i]!));
      const model = makeCandidate(name, { ...input, cohort: learnt });
      const said = saysOf(
        model,
        transform,
        prepared,
        Uint32Array.from(places, (i) => rows[i]!),
      );
      for (const [k, i] of places.entries()) own[i] = said[k]!;
    }
    says.set(name, own);
    const errors = { champion, candidate: squares(own), groups };
    const ratio = errorRatio(errors, plan.seed);
    const worstCohort = worstOf(errors, order.cohorts, assets);
    const wins =
      ratio.upper < 1 && ratio.ratio <= RATIO_MAX && (worstCohort === null || worstCohort.ratio <= WORSE_MAX);
    return { candidate: name, rmse: rootMean(errors.candidate), ...ratio, worstCohort, wins };
  });
  const mean = meanOf(Float64Array.from(plan.finalRows, (row) => prepared.target[row]!));
  const choice = chooseFrom(results, says, squares, groups, plan.seed);
  const nameOf = (group: number) => assets[group]!.asset;
  const result: RetrainingResult = {
    championRmse: rootMean(champion),
    meanRmse: rootMean(truth.map((y) => (mean - y) ** 2)),
    rows: rows.length,
    assets: [...new Set(groups)].map(nameOf).toSorted(),
    holdoutAssets: [...order.holdoutAssets].toSorted(),
    folds: folds.length,
    candidates: results,
    ...choice,
  };
  return { result, says };
}

/** The cohort in which the candidate did worst beside the champion; null where none has rows enough to say. */
function worstOf(
  { champion, candidate, groups }: { champion: Float64Array; candidate: Float64Array; groups: Int32Array },
  cohorts: RetrainOrder["cohorts"],
  assets: readonly HistoryAsset[],
): CandidateResult["worstCohort"] {
  const ratios = Object.entries(cohorts).flatMap(([cohort, members]) => {
    const own = new Set(members);
    const places = Array.from(groups.keys()).filter((i) => own.has(assets[groups[i]!]!.asset));
    if (places.length < COHORT_ROWS_MIN) return [];
    const of = (errors: Float64Array) => rootMean(Float64Array.from(places, (i) => errors[i]!));
    const [before, after] = [of(champion), of(candidate)];
    return [{ cohort, ratio: before === 0 ? (after === 0 ? 1 : Number.MAX_VALUE) : after / before }];
  });
  return ratios.toSorted((a, b) => b.ratio - a.ratio)[0] ?? null;
}

/**
 * The simplest of the winners that is not clearly worse than the best of them (after the one-standard-error rule of
 * Breiman et al., 1984): what is more complicated must earn it.
 */
function chooseFrom(
  results: readonly CandidateResult[],
  says: ReadonlyMap<CandidateName, Float64Array>,
  squares: (says: Float64Array) => Float64Array,
  groups: Int32Array,
  seed: number,
): { chosen: string | null; reason: string } {
  const winners = results.filter(({ wins }) => wins);
  const best = winners.toSorted((a, b) => a.rmse - b.rmse)[0];
  if (best === undefined) {
    const closest = results.toSorted((a, b) => a.upper - b.upper)[0]!;
    const text = `${closest.candidate} came closest: ${closest.ratio.toFixed(2)} of the champion's error, at most ${closest.upper.toFixed(2)}`;
    return { chosen: null, reason: `no candidate is surely better than the champion; ${text}` };
  }
  const errorsOf = (name: string) => squares(says.get(name as CandidateName)!);
  const against = (name: string): ErrorRatio =>
    errorRatio({ champion: errorsOf(best.candidate), candidate: errorsOf(name), groups }, seed);
  const chosen = winners.find(({ candidate }) => candidate === best.candidate || against(candidate).lower <= 1)!;
  const than = chosen === best ? "the best of the winners" : `not clearly worse than ${best.candidate}, and simpler`;
  return {
    chosen: chosen.candidate,
    reason: `${chosen.candidate} makes ${chosen.ratio.toFixed(2)} of the champion's error, at most ${chosen.upper.toFixed(2)}; ${than}`,
  };
}

function rootMean(squares: Float64Array): number {
  return Math.sqrt(meanOf(squares));
}

function meanOf(values: Float64Array): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
