/** What the story counted; written by `--json`. */
export interface Report {
  seed: number;
  devices: number;
  samples: { produced: number; committed: number; lost: number; duplicated: number };
  model: { rmse: number; rmseMean: number };
  rollouts: { model: string; version: number; state: string; reverted: boolean; devicesTouched: number }[];
  tamper: { refused: number; codes: string[] };
  /** The cohort that was called, how many windows after the change, and how many others were called with it. */
  drift: { cohort: string | null; calledAfterWindows: number | null; falseCohorts: number };
  /** Errors on assets that no training ever saw; null where nothing was to be retrained. */
  retraining: {
    cohort: string;
    candidate: string;
    rmseBefore: number;
    rmseAfter: number;
    ciUpperRatio: number;
  } | null;
  seconds: number;
}

/** What the report is judged by, beside its own figures. */
export interface Expectation {
  /** How many devices the first wave of a rollout may reach. */
  readonly canaries: number;
  /** The cohort whose process changed. */
  readonly changed: string | null;
  /** Of the retrained version's predictions: the error of always the mean, and devices outside the cohort that had it. */
  readonly retrained: { readonly rmseMean: number; readonly outsideCohort: number } | null;
}

/** The promises that did not hold, as sentences; none is a success. */
export function brokenPromises(report: Report, expected: Expectation): string[] {
  const broken: string[] = [];
  const { samples, model, rollouts, tamper } = report;
  if (samples.produced === 0) broken.push("nothing was produced, so nothing was shown");
  if (samples.lost > 0) broken.push(`${samples.lost} samples were lost`);
  if (samples.duplicated > 0) broken.push(`${samples.duplicated} samples were stored twice or never made`);
  if (samples.committed !== samples.produced) broken.push("not every sample arrived as it was made");
  if (!(model.rmse <= 0.6 * model.rmseMean)) {
    broken.push(
      `the model's error ${model.rmse.toFixed(1)} is above 0.6 of the mean predictor's ${model.rmseMean.toFixed(1)}`,
    );
  }
  const [first, bad] = rollouts;
  if (first?.state !== "finished" || first.devicesTouched !== report.devices)
    broken.push("the first model did not reach every device");
  if (!bad?.reverted || bad.state !== "reverted") broken.push("the worthless model was not stopped and taken back");
  if (bad?.devicesTouched === 0) broken.push("no device ran the worthless model, so nothing was shown");
  if (bad && bad.devicesTouched > expected.canaries)
    broken.push(`${bad.devicesTouched} devices saw the worthless model, more than the ${expected.canaries} canaries`);
  if (tamper.refused !== 2) broken.push(`${tamper.refused} of 2 tampered things were refused`);
  return [...broken, ...brokenLoop(report, expected)];
}

/** What did not hold in the learning loop. */
function brokenLoop({ drift, retraining }: Report, { changed, retrained }: Expectation): string[] {
  const broken: string[] = [];
  if (drift.cohort !== changed)
    broken.push(`drift was called on ${drift.cohort ?? "no cohort"}, not on ${changed ?? "none"}`);
  if (drift.falseCohorts > 0)
    broken.push(`drift was called on ${drift.falseCohorts} cohorts where nothing had changed`);
  if (changed === null) return broken;
  if (!(drift.calledAfterWindows !== null && drift.calledAfterWindows > 0))
    broken.push("drift was called before anything had changed");
  if (retraining === null || retrained === null) return [...broken, "the cohort that changed was not retrained"];
  if (!(retraining.rmseAfter < retraining.rmseBefore)) {
    broken.push(
      `retraining did not pay: ${retraining.rmseBefore.toFixed(1)} before, ${retraining.rmseAfter.toFixed(1)} after`,
    );
  }
  if (!(retraining.rmseAfter < retrained.rmseMean))
    broken.push("the retrained model is no better than always the mean");
  if (!(retraining.ciUpperRatio < 1)) broken.push("the retrained model was not surely better when it was released");
  if (retrained.outsideCohort > 0) broken.push(`${retrained.outsideCohort} devices outside the cohort were touched`);
  return broken;
}
