import type { MachinesConfig } from "../../config/config.ts";
import { gaussian, keyOf, pick, smooth, uniform } from "./random.ts";

/** How a life ends. */
export const FAULT_MODES = ["bearing", "imbalance", "misalignment", "cooling"] as const;
export type FaultMode = (typeof FAULT_MODES)[number];

/** One life of a machine: from overhaul to failure. */
export interface Life {
  /** 0 for the first. */
  readonly number: number;
  readonly rows: number;
  readonly mode: FaultMode;
}

/** Where a row lies in its machine's lives. */
export interface Moment {
  readonly life: Life;
  /** Rows since the life began; 0 for its first. */
  readonly age: number;
  /** Rows left until the failure; 0 for the last. */
  readonly rul: number;
}

/** Random streams: one number per thing that is drawn, never used for another. */
const S = {
  life: 1,
  mode: 2,
  phase: 3,
  make: 10,
  growth: 30,
  scatter: 31,
  interval: 32,
  regime: 40,
  load: 41,
  ambient: 42,
} as const;

const MODE_WEIGHTS = [
  ["bearing", 0.4],
  ["imbalance", 0.2],
  ["misalignment", 0.2],
  ["cooling", 0.2],
] as const;

/** How fast each mode runs away: the exponent of its growth from P to F. */
const GROWTH: Readonly<Record<FaultMode, number>> = { bearing: 2.2, imbalance: 1.4, misalignment: 1.6, cooling: 1.8 };
/** The usual P-F interval as a share of the mean life. */
const PF_SHARE = 0.6;

/** Without regimes: nominal speed, as REGIMES has it most of the time. */
const FULL = { speed: 1, load: 0.9 };
/** Operating regimes: share of nominal speed, load, weight. */
const REGIMES: readonly (readonly [{ speed: number; load: number }, number])[] = [
  [FULL, 0.5],
  [{ speed: 0.86, load: 0.72 }, 0.3],
  [{ speed: 0.72, load: 0.55 }, 0.2],
];
const REGIME_ROWS = 24;

/** What makes one specimen of a machine differ from the next of its type. */
export interface Make {
  readonly speedRpm: number;
  readonly imbalance: number;
  readonly misalignment: number;
  readonly bearing: number;
  readonly envelope: number;
  readonly thermal: number;
  readonly current: number;
  readonly ambientC: number;
}

/** What a machine is doing and how worn it is at one row; signals.ts turns it into readings. */
export interface Condition {
  /** Share of nominal speed. */
  readonly speed: number;
  /** Share of nominal load. */
  readonly load: number;
  /** Load of the last rows, as bearings and windings feel it. */
  readonly heat: number;
  readonly ambientC: number;
  /** Severity of each mode, 0 = none, about 1 at failure. */
  readonly severity: Readonly<Record<FaultMode, number>>;
}

/** One simulated machine: everything about it is a function of (seed, asset, index). */
export class Machine {
  readonly key: number;
  readonly make: Make;
  readonly #config: MachinesConfig;
  /** Rows before life n begins, counted from the first life's birth; grown on demand, the same whoever asks first. */
  readonly #births: number[] = [0];
  readonly #phase: number;

  constructor(seed: number, asset: string, config: MachinesConfig) {
    this.key = keyOf(seed, asset);
    this.#config = config;
    const scatter = (n: number, share: number) => 1 + share * Math.max(-2, Math.min(2, gaussian(this.key, S.make, n)));
    this.make = {
      speedRpm: 1_485 * scatter(0, 0.005),
      imbalance: 1.1 * scatter(1, 0.1),
      misalignment: 0.6 * scatter(2, 0.1),
      bearing: 0.5 * scatter(3, 0.1),
      envelope: 0.25 * scatter(4, 0.1),
      thermal: scatter(5, 0.04),
      current: 42 * scatter(6, 0.02),
      ambientC: 21 + 2 * Math.max(-2, Math.min(2, gaussian(this.key, S.make, 7))),
    };
    this.#phase = Math.floor(uniform(this.key, S.phase, 0) * config.stagger * this.life(0).rows);
  }

  /** The n-th life. */
  life(number: number): Life {
    const [shortest, longest] = this.#config.lifeRows;
    const rows = shortest + Math.floor(uniform(this.key, S.life, number) * (longest - shortest + 1));
    return { number, rows, mode: pick(MODE_WEIGHTS, uniform(this.key, S.mode, number)) };
  }

  /** Life, age and remaining rows at an index. */
  momentAt(index: number): Moment {
    const position = index + this.#phase;
    const births = this.#births;
    while (births.at(-1)! <= position) births.push(births.at(-1)! + this.life(births.length - 1).rows);
    let low = 0;
    let high = births.length - 1;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (births[middle]! <= position) low = middle;
      else high = middle;
    }
    const life = this.life(low);
    const age = position - births[low]!;
    return { life, age, rul: life.rows - 1 - age };
  }

  /** The index at which a life's last row is read; negative never. */
  endOfLife(number: number): number {
    let end = -this.#phase;
    for (let n = 0; n <= number; n += 1) end += this.life(n).rows;
    return end - 1;
  }

  conditionAt(index: number, moment: Moment): Condition {
    const { speed, load } = this.#operationAt(index);
    // Heat flows slowly: a bearing's housing follows the load with a time constant of about three rows.
    let heat = 0;
    let weights = 0;
    for (let back = 0; back < 8; back += 1) {
      const weight = Math.exp(-back / 3);
      heat += weight * this.#operationAt(index - back).load;
      weights += weight;
    }
    const day = 3 * Math.sin((2 * Math.PI * index) / 96);
    const ambientC = this.make.ambientC + day + smooth(this.key, S.ambient, index, 40);
    return { speed, load, heat: heat / weights, ambientC, severity: this.#severityAt(moment) };
  }

  /** Production runs in blocks of constant setting; inside a block the load wanders a little. */
  #operationAt(index: number): { speed: number; load: number } {
    const offset = this.key % REGIME_ROWS;
    const block = Math.floor((index + offset) / REGIME_ROWS);
    const regime = this.#config.regimes ? pick(REGIMES, uniform(this.key, S.regime, block)) : FULL;
    const wander = 0.04 * smooth(this.key, S.load, index, 10);
    return { speed: regime.speed, load: Math.max(0.1, regime.load + wander) };
  }

  /**
   * A fault shows from the point P of the P-F curve on (Moubray, Reliability-centred Maintenance) and ends in the
   * failure F. Between them damage grows with itself (Paris: the growth of a crack is a power of its own size), so
   * severity follows a normalised exponential; it runs ahead or behind a little, and lives differ somewhat in the length
   * of their P-F interval and in the severity at which they fail. The end of a life is where it is: only the way there
   * is random.
   */
  #severityAt({ life, age, rul }: Moment): Record<FaultMode, number> {
    const [shortest, longest] = this.#config.lifeRows;
    const usual = PF_SHARE * ((shortest + longest) / 2);
    const interval = Math.min(0.95 * life.rows, usual * Math.exp(0.06 * gaussian(this.key, S.interval, life.number)));
    const x = Math.max(0, 1 - rul / interval);
    const ahead = 0.03 * smooth(this.key, S.growth + life.number * 100, age, 40) * 4 * x * (1 - x);
    const pace = Math.min(1, Math.max(0, x + ahead));
    const final = Math.exp(0.05 * gaussian(this.key, S.scatter, life.number));
    const grown = (g: number) => (final * Math.expm1(g * pace)) / Math.expm1(g);
    const severity = { bearing: 0, imbalance: 0, misalignment: 0, cooling: 0 };
    // Whatever loads a bearing wears it: every mode takes some of the bearing's life with it.
    severity.bearing = 0.35 * grown(GROWTH.imbalance);
    severity[life.mode] = grown(GROWTH[life.mode]);
    return severity;
  }
}
