import type { Column } from "./column.ts";
import type { RowWindow } from "./windows.ts";

/** A number a function takes, with its bounds; without `fallback` it must be given. */
export interface ParameterSpec {
  readonly min: number;
  readonly max: number;
  readonly fallback?: number;
  readonly summary: string;
}

type Parameters = Readonly<Record<string, number>>;
/** Unit of the figure in terms of the channel's: itself, squared, per row, per hour; or one of its own. */
export type FigureUnit = "channel" | "channel^2" | "channel/row" | "channel/h" | "1" | "{row}" | "h" | "Hz";

interface FunctionDescription {
  readonly summary: string;
  readonly unit: FigureUnit;
  readonly parameters: Readonly<Record<string, ParameterSpec>>;
}

/** A figure over one channel; `compute` is called with at least one value that is not missing. */
export interface ChannelFunction extends FunctionDescription {
  readonly over: "channel";
  readonly compute: (column: Column, parameters: Parameters) => number;
  /** The figure when every value is missing; NaN without it. */
  readonly whenEmpty?: number;
}

/** A figure of the asset itself. */
export interface AssetFunction extends FunctionDescription {
  readonly over: "asset";
  readonly compute: (window: RowWindow) => number;
}

export type FeatureFunction = ChannelFunction | AssetFunction;

type Extras = { readonly parameters?: Readonly<Record<string, ParameterSpec>>; readonly whenEmpty?: number };

function channel(
  unit: FigureUnit,
  summary: string,
  compute: (column: Column, parameters: Parameters) => number,
  extras: Extras = {},
): ChannelFunction {
  return { over: "channel", unit, summary, compute, parameters: {}, ...extras };
}

function asset(unit: FigureUnit, summary: string, compute: (window: RowWindow) => number): AssetFunction {
  return { over: "asset", unit, summary, compute, parameters: {} };
}

/** A machine at rest has no shape: a quotient by zero is 0, so that a model never meets an infinity. */
function ratio(numerator: number, denominator: number): number {
  return denominator === 0 ? 0 : numerator / denominator;
}

const rate: Readonly<Record<string, ParameterSpec>> = {
  rate_hz: {
    min: 1e-9,
    max: 1e9,
    fallback: Number.NaN,
    summary: "rows per second; without it, by the rows' own times",
  },
};
const band: Readonly<Record<string, ParameterSpec>> = {
  lo_hz: { min: 0, max: 1e9, summary: "lower edge in Hz, included" },
  hi_hz: { min: 0, max: 1e9, summary: "upper edge in Hz, not included" },
  ...rate,
};

function bandPower(column: Column, p: Parameters): number {
  const spectrum = column.spectrum(p["rate_hz"]!);
  if (spectrum === undefined) return Number.NaN;
  let sum = 0;
  for (let k = 0; k < spectrum.density.length; k += 1) {
    const hz = k * spectrum.stepHz;
    if (hz >= p["lo_hz"]! && hz < p["hi_hz"]!) sum += spectrum.density[k]!;
  }
  return sum * spectrum.stepHz;
}

function spectralCentroid(column: Column, p: Parameters): number {
  const spectrum = column.spectrum(p["rate_hz"]!);
  if (spectrum === undefined) return Number.NaN;
  let weighted = 0;
  let total = 0;
  for (let k = 0; k < spectrum.density.length; k += 1) {
    weighted += k * spectrum.stepHz * spectrum.density[k]!;
    total += spectrum.density[k]!;
  }
  return ratio(weighted, total);
}

function spectralEntropy(column: Column, p: Parameters): number {
  const spectrum = column.spectrum(p["rate_hz"]!);
  if (spectrum === undefined) return Number.NaN;
  let total = 0;
  for (const power of spectrum.density) total += power;
  if (total === 0) return 0;
  let entropy = 0;
  for (const power of spectrum.density) if (power > 0) entropy -= (power / total) * Math.log(power / total);
  return entropy / Math.log(spectrum.density.length);
}

function ewma(column: Column, p: Parameters): number {
  const alpha = p["alpha"]!;
  let mean = column.first;
  for (let i = 1; i < column.n; i += 1) mean += alpha * (column.values[i]! - mean);
  return mean;
}

function meanAbsChange(column: Column): number {
  let sum = 0;
  for (let i = 1; i < column.n; i += 1) sum += Math.abs(column.values[i]! - column.values[i - 1]!);
  return ratio(sum, column.n - 1);
}

function crossings(column: Column): number {
  const { mean } = column;
  let count = 0;
  for (let i = 1; i < column.n; i += 1) {
    if (column.values[i - 1]! < mean !== column.values[i]! < mean) count += 1;
  }
  return ratio(count, column.n - 1);
}

/**
 * Every function a feature may name. Names follow the condition-monitoring libraries (TSFEL, Edge Impulse); moments are
 * of the population, kurtosis is the excess (0 for a Gaussian). "Values" are those of the window that are not missing.
 */
export const FEATURE_FUNCTIONS: Readonly<Record<string, FeatureFunction>> = {
  last: channel("channel", "newest value", (c) => c.last),
  first: channel("channel", "oldest value of the window", (c) => c.first),
  mean: channel("channel", "mean", (c) => c.mean),
  std: channel("channel", "population standard deviation", (c) => Math.sqrt(c.variance)),
  min: channel("channel", "smallest value", (c) => c.min),
  max: channel("channel", "largest value", (c) => c.max),
  median: channel("channel", "median", (c) => c.quantile(0.5)),
  quantile: channel("channel", "quantile, interpolated linearly", (c, p) => c.quantile(p["q"]!), {
    parameters: { q: { min: 0, max: 1, summary: "0 = smallest, 1 = largest" } },
  }),
  delta: channel("channel", "newest minus oldest value", (c) => c.last - c.first),
  slope: channel("channel/row", "least-squares slope per row", (c) => c.slope),
  slope_per_hour: channel("channel/h", "least-squares slope over source time", (c) => c.slopePerHour()),
  ewma: channel("channel", "exponentially weighted mean, begun at the oldest value", ewma, {
    parameters: { alpha: { min: 1e-6, max: 1, summary: "weight of the newest value" } },
  }),
  mean_abs_change: channel("channel", "mean distance between neighbouring values", meanAbsChange),
  mean_crossing_rate: channel("1", "share of neighbouring values on two sides of the mean", crossings),
  rms: channel("channel", "root mean square", (c) => c.rms),
  peak: channel("channel", "largest magnitude", (c) => c.peak),
  peak_to_peak: channel("channel", "largest minus smallest value", (c) => c.max - c.min),
  crest_factor: channel("1", "peak over rms (0 at rest)", (c) => ratio(c.peak, c.rms)),
  shape_factor: channel("1", "rms over mean magnitude (0 at rest)", (c) => ratio(c.rms, c.meanAbs)),
  impulse_factor: channel("1", "peak over mean magnitude (0 at rest)", (c) => ratio(c.peak, c.meanAbs)),
  skewness: channel("1", "third standardised moment (0 for a constant)", (c) =>
    ratio(c.centralMoment(3), c.variance * Math.sqrt(c.variance)),
  ),
  kurtosis: channel("1", "excess kurtosis: fourth standardised moment minus 3 (0 for a constant)", (c) =>
    c.variance === 0 ? 0 : ratio(c.centralMoment(4), c.variance * c.variance) - 3,
  ),
  band_power: channel("channel^2", "power between two frequencies (periodogram, Hann window)", bandPower, {
    parameters: band,
  }),
  spectral_centroid: channel("Hz", "mean frequency, weighted by power", spectralCentroid, { parameters: rate }),
  spectral_entropy: channel("1", "entropy of the power spectrum, 0 = one line, 1 = flat", spectralEntropy, {
    parameters: rate,
  }),
  count: channel("{row}", "values that are not missing", (c) => c.n, { whenEmpty: 0 }),
  missing_fraction: channel("1", "share of the window's rows without a value", (c) => (c.rows - c.n) / c.rows, {
    whenEmpty: 1,
  }),
  age_rows: asset("{row}", "rows of the asset so far, the newest included", (w) => w.ageRows),
  age_hours: asset("h", "source time since the asset's first row", (w) => (w.lastAtMs - w.firstAtMs) / 3_600_000),
  window_rows: asset("{row}", "rows in the window", (w) => w.rows),
};
