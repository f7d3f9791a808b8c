import type { DriftReference } from "@bellwether/protocol/reference/drift-reference.ts";
import { standing, twoSidedP } from "./statistics.ts";
import type { JudgedWindow } from "./windows.ts";

/** What a cohort is judged by; how the defaults were found: docs/decisions/0084. */
export interface CohortRules {
  /** Newest windows of each asset that are compared: those after a baseline, of so many kept. */
  readonly windows: number;
  readonly windowsKept: number;
  /** False discovery rate over all cohorts and features. */
  readonly falseDiscoveryRate: number;
  /** Least mean shift, in spreads of the feature. */
  readonly shiftMin: number;
  readonly devicesMin: number;
  /** Share of the devices that must have shifted to the same side, and whose own charts must have begun to say so. */
  readonly share: number;
  /** Most that leaving any one device out may leave of the evidence, as a probability. */
  readonly withoutOneMax: number;
}

export const COHORT_RULES: CohortRules = {
  windows: 8,
  windowsKept: 16,
  falseDiscoveryRate: 0.0005,
  shiftMin: 1,
  devicesMin: 2,
  share: 0.6,
  withoutOneMax: 0.05,
};

/** What one feature did in one cohort. */
export interface FeatureShift {
  readonly feature: string;
  /** Mean over devices of the distance from what is expected of their assets, in spreads of the feature. */
  readonly shift: number;
  /** t statistic over devices, its degrees of freedom, and the two-sided probability of one as large. */
  readonly t: number;
  readonly freedom: number;
  readonly p: number;
  /** Devices that shifted to the side of the mean by the least shift or more. */
  readonly devices: readonly string[];
  /** Devices whose own charts say the same. */
  readonly supported: readonly string[];
  /** Largest probability over all ways to leave one device out; small when no single device makes the difference. */
  readonly pWithoutOne: number;
  readonly stands: boolean;
}

/** A cohort under one reference. */
export interface CohortEvidence {
  readonly devices: readonly string[];
  readonly assets: readonly string[];
  /** Assets that have too few windows after their own baseline. */
  readonly warming: readonly string[];
  /** Source time of the newest rows behind this: the middle one of all assets. */
  readonly toMs: number;
  readonly features: readonly FeatureShift[];
}

interface DeviceMeans {
  readonly device: string;
  readonly assets: number;
  /** Mean distance per feature, in units of the chart's scale; NaN where nothing was there. */
  readonly means: Float64Array;
  /** Features and sides that a chart of this device stands out in. */
  readonly saying: ReadonlySet<string>;
}

/**
 * What the newest windows of cohorts' assets say about each feature: windows of an asset average first, then assets of a
 * device; devices are the sample. Cohorts are judged together, because the false discovery rate is over all of them.
 */
export function judgeCohorts(
  cohorts: readonly (readonly (readonly JudgedWindow[])[])[],
  reference: DriftReference,
  rules: CohortRules = COHORT_RULES,
): CohortEvidence[] {
  const bare = cohorts.map((assets) => evidenceOf(assets, reference, rules));
  const stands = standing(
    bare.flatMap(({ features }) => features.map(({ p }) => p)),
    rules.falseDiscoveryRate,
  );
  let at = 0;
  return bare.map((evidence) => ({
    ...evidence,
    features: evidence.features.map((feature) => {
      const found = stands[at]!;
      at += 1;
      return { ...feature, stands: found && isCommon(feature, evidence, rules) };
    }),
  }));
}

function isCommon(feature: FeatureShift, { devices }: CohortEvidence, rules: CohortRules): boolean {
  const needed = Math.max(rules.devicesMin, rules.share * devices.length);
  return (
    Math.abs(feature.shift) >= rules.shiftMin &&
    feature.devices.length >= needed &&
    feature.supported.length >= needed / 2 &&
    (devices.length <= rules.devicesMin || feature.pWithoutOne <= rules.withoutOneMax)
  );
}

function evidenceOf(
  assets: readonly (readonly JudgedWindow[])[],
  reference: DriftReference,
  rules: CohortRules,
): CohortEvidence {
  const known = assets
    .filter((own) => own.length > 0)
    .map((own) => ({
      asset: own[0]!.asset,
      device: own[0]!.device,
      newest: own.at(-1)!,
      judged: own.flatMap(({ distances }) => (distances === undefined ? [] : [distances])).slice(-rules.windows),
    }));
  // A full set of windows after the baseline: fewer say little.
  const [warming, judged] = split(known, (one) => one.judged.length < rules.windows);
  const byDevice = Map.groupBy(judged, ({ device }) => device);
  const devices = [...byDevice].map(([device, own]) => deviceMeans(device, own));
  return {
    devices: devices.map(({ device }) => device).toSorted(),
    assets: judged.map(({ asset }) => asset).toSorted(),
    warming: warming.map(({ asset }) => asset).toSorted(),
    toMs: middleOf(known.map(({ newest }) => newest.toMs)),
    features: reference.features.map((_, f) => shiftOf(f, devices, reference, rules)),
  };
}

function middleOf(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1] ?? 0;
}

function split<T>(items: readonly T[], isFirst: (item: T) => boolean): [T[], T[]] {
  return [items.filter(isFirst), items.filter((item) => !isFirst(item))];
}

function deviceMeans(
  device: string,
  assets: readonly { readonly judged: readonly Float64Array[]; readonly newest: JudgedWindow }[],
): DeviceMeans {
  const perAsset = assets.map(({ judged }) => meansOf(judged));
  const newest = assets.flatMap(({ newest: { verdicts } }) => verdicts);
  return {
    device,
    assets: assets.length,
    means: meansOf(perAsset),
    saying: new Set(
      newest.filter(({ kind }) => kind === "mean").map(({ feature, direction }) => `${feature}/${direction}`),
    ),
  };
}

/** Column means of what is there. */
function meansOf(rows: readonly Float64Array[]): Float64Array {
  return rows[0]!.map((_, f) => {
    const known = rows.map((row) => row[f]!).filter((value) => !Number.isNaN(value));
    return known.reduce((sum, value) => sum + value, 0) / known.length;
  });
}

/** Degrees of freedom that the reference's own spread between assets counts for. */
const PRIOR_FREEDOM = 8;
/** Windows of one asset follow each other: so many of them say as much as one independent one. */
const WINDOWS_PER_INDEPENDENT = 3;

/**
 * The moderated t statistic of one feature (Smyth, 2004): the variance between devices, shrunk to what the reference
 * says it should be, because three devices alone know little of it.
 */
function shiftOf(
  f: number,
  devices: readonly DeviceMeans[],
  reference: DriftReference,
  rules: CohortRules,
): FeatureShift {
  const feature = reference.features[f]!;
  const { scale, between } = reference.mean[f]!;
  const known = devices.filter(({ means }) => !Number.isNaN(means[f]!));
  const prior = ({ assets }: DeviceMeans) => (between ** 2 + WINDOWS_PER_INDEPENDENT / rules.windows) / assets;
  const whole = tOf(known, f, prior);
  const apart = known.map((one) =>
    tOf(
      known.filter((other) => other !== one),
      f,
      prior,
    ),
  );
  const side = Math.sign(whole.mean);
  const says = `${feature}/${side > 0 ? "up" : "down"}`;
  return {
    feature,
    shift: whole.mean * scale,
    t: whole.t,
    freedom: whole.freedom,
    p: whole.p,
    devices: namesOf(known.filter(({ means }) => side * means[f]! * scale >= rules.shiftMin)),
    supported: namesOf(known.filter(({ saying }) => saying.has(says))),
    pWithoutOne: Math.max(0, ...apart.map(({ p }) => p)),
    stands: false,
  };
}

function namesOf(devices: readonly DeviceMeans[]): string[] {
  return devices.map(({ device }) => device).toSorted();
}

function tOf(devices: readonly DeviceMeans[], f: number, prior: (device: DeviceMeans) => number) {
  const D = devices.length;
  if (D === 0) return { mean: 0, t: 0, freedom: PRIOR_FREEDOM, p: 1 };
  const mean = devices.reduce((sum, { means }) => sum + means[f]!, 0) / D;
  const squares = devices.reduce((sum, { means }) => sum + (means[f]! - mean) ** 2, 0);
  const expected = devices.reduce((sum, device) => sum + prior(device), 0) / D;
  const freedom = PRIOR_FREEDOM + D - 1;
  const variance = (PRIOR_FREEDOM * expected + squares) / freedom;
  const t = variance > 0 ? mean / Math.sqrt(variance / D) : 0;
  return { mean, t, freedom, p: twoSidedP(t, freedom) };
}
