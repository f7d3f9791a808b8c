/** What a benchmark is held to: its ratio to the baseline, or the plain figure. */
export interface Goal {
  readonly of: "ratio" | "value";
  readonly least?: number;
  readonly most?: number;
}

/** What a figure is. */
export interface Measurable {
  /** For readers of docs/BENCHMARKS.md: what is measured, and over what. */
  readonly what: string;
  readonly over: string;
  readonly unit: string;
  readonly goal: Goal;
}

/** A figure that comes out of another benchmark's rounds. */
export interface Beside extends Measurable {
  /** The benchmark that measures it. */
  readonly with: string;
}

/** One benchmark, as the registry knows it. Baseline files run alone too: `npm run bench -- NAME --baseline`. */
export interface Bench extends Measurable {
  /** Rounds of value and baseline in turn; 5 unless one round takes minutes. */
  readonly rounds?: number;
  /** Why it cannot run on this machine. */
  readonly missing?: () => string | undefined;
  /** The one short file beside this one that measures the baseline and ends. */
  readonly baselineFile?: string;
  readonly baselineArgs?: readonly string[];
  /** What all rounds share. */
  readonly open: () => Promise<OpenBench>;
}

/** A benchmark whose processes are up. Each call is one round. */
export interface OpenBench {
  value(): Promise<number>;
  baseline?(): Promise<number>;
  /** What the round before gave of the figures that are measured with this one, by name. */
  beside?(): Readonly<Record<string, Round>>;
  /** What a fleet of each size cost in the round before, for a plot. */
  sizes?(): readonly FleetCost[];
  close(): Promise<void>;
}

/** What one device of a fleet of this size costs its server. */
export interface FleetCost {
  readonly devices: number;
  readonly cpuMsPerMinute: number;
  readonly memoryKb: number;
}

/** Median, least and most of the rounds. */
export interface Spread {
  readonly median: number;
  readonly min: number;
  readonly max: number;
}

/** The one JSON line of a benchmark. */
export interface Figure {
  readonly name: string;
  readonly value: number;
  readonly unit: string;
  readonly baseline: number | null;
  /** Median of the ratios of each round's pair: the machine's mood of the moment is in both. */
  readonly ratio: number | null;
  readonly goal: string;
  readonly pass: boolean;
}

/** The figures of all rounds, and how far they lie apart. */
export interface Outcome {
  readonly figure: Figure;
  readonly spread: { readonly value: Spread; readonly baseline?: Spread; readonly ratio?: Spread };
  readonly sizes?: readonly FleetCost[];
}

/** Rounds of one benchmark, value and baseline side by side. */
export interface Round {
  readonly value: number;
  readonly baseline?: number;
}

export function outcomeOf(
  name: string,
  { unit, goal }: Pick<Bench, "unit" | "goal">,
  rounds: readonly Round[],
): Outcome {
  const value = spreadOf(rounds.map((round) => round.value));
  const pairs = rounds.flatMap((round) =>
    round.baseline === undefined ? [] : [{ baseline: round.baseline, ratio: round.value / round.baseline }],
  );
  const baseline = pairs.length === 0 ? undefined : spreadOf(pairs.map((pair) => pair.baseline));
  const ratio = pairs.length === 0 ? undefined : spreadOf(pairs.map((pair) => pair.ratio));
  const judged = goal.of === "ratio" ? ratio?.median : value.median;
  return {
    figure: {
      name,
      value: short(value.median),
      unit,
      baseline: baseline === undefined ? null : short(baseline.median),
      ratio: ratio === undefined ? null : short(ratio.median),
      goal: goalText(goal),
      pass: judged !== undefined && judged >= (goal.least ?? -Infinity) && judged <= (goal.most ?? Infinity),
    },
    spread: { value, ...(baseline && { baseline }), ...(ratio && { ratio }) },
  };
}

/** How much of a goal was reached: 1 is just enough, more is better, also where less is wanted. */
export function reached({ of, least, most }: Goal, figure: Figure): number {
  const judged = (of === "ratio" ? figure.ratio : figure.value) ?? 0;
  return least !== undefined ? judged / least : (most ?? 0) / judged;
}

export function spreadOf(values: readonly number[]): Spread {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = (sorted.length - 1) / 2;
  const median = ((sorted[Math.floor(middle)] ?? Number.NaN) + (sorted[Math.ceil(middle)] ?? Number.NaN)) / 2;
  return { median, min: sorted[0] ?? Number.NaN, max: sorted.at(-1) ?? Number.NaN };
}

/** Four digits say more than any of these machines can promise. */
export function short(value: number): number {
  return Number(value.toPrecision(4));
}

function goalText({ of, least, most }: Goal): string {
  return [least === undefined ? "" : `${of} >= ${least}`, most === undefined ? "" : `${of} <= ${most}`]
    .filter((text) => text !== "")
    .join(", ");
}
