/** What the story counted; written by `--json`. */
export interface Report {
  seed: number;
  devices: number;
  samples: { produced: number; committed: number; lost: number; duplicated: number };
  model: { rmse: number; rmseMean: number };
  rollouts: { model: string; version: number; state: string; reverted: boolean; devicesTouched: number }[];
  tamper: { refused: number; codes: string[] };
  seconds: number;
}

/** The promises that did not hold, as sentences; none is a success. */
export function brokenPromises(report: Report, canaries: number): string[] {
  const broken: string[] = [];
  const { samples, model, rollouts, tamper } = report;
  if (samples.produced === 0) broken.push("nothing was produced, so nothing was shown");
  if (samples.lost > 0) broken.push(`${samples.lost} samples were lost`);
  if (samples.duplicated > 0) broken.push(`${samples.duplicated} samples were stored twice or never made`);
  if (samples.committed !== samples.produced) broken.push("not every sample arrived as it was made");
  if (!(model.rmse < 0.7 * model.rmseMean)) {
    broken.push(
      `the model's error ${model.rmse.toFixed(1)} is not below 0.7 of the mean predictor's ${model.rmseMean.toFixed(1)}`,
    );
  }
  const [first, bad] = rollouts;
  if (first?.state !== "finished" || first.devicesTouched !== report.devices)
    broken.push("the first model did not reach every device");
  if (!bad?.reverted || bad.state !== "reverted") broken.push("the worthless model was not stopped and taken back");
  if (bad && bad.devicesTouched > canaries)
    broken.push(`${bad.devicesTouched} devices saw the worthless model, more than the ${canaries} canaries`);
  if (tamper.refused !== 2) broken.push(`${tamper.refused} of 2 tampered things were refused`);
  return broken;
}
