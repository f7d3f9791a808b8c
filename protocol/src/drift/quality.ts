import type { QualityFinding, QualityKind } from "../messages/drift.ts";
import type { ChannelReference, DriftReference } from "../reference/drift-reference.ts";
import { conversionOf } from "../units.ts";

/** A pause of so many usual row intervals is a gap. */
const GAP_INTERVALS = 5;
/** A row that claims to be so far ahead of the device's own clock is of a clock that is wrong. */
const AHEAD_MS = 300_000;
/** A value so many extents outside what the reference ever saw is out of range. */
const RANGE_MARGIN = 1;
/** A run of one value so many times longer than any of the reference is stuck. */
const STUCK_TIMES = 3;
const STUCK_ROWS_MIN = 12;
/** Share of a window's rows beyond the usual that must be missing or out of range. */
const SHARE_MIN = 0.1;
const FINDINGS_MAX = 64;

/** Units a sensor or a driver changes to unasked, by dimension: what a jump may turn out to be. */
const USUAL_UNITS = [
  ...(["Cel", "K", "[degF]", "bar", "Pa", "kPa", "MPa", "mbar", "[psi]"] as const),
  ...(["m/s", "mm/s", "um/s", "[in_i]/s", "m/s2", "[g]", "mm", "um", "m", "[in_i]"] as const),
  ...(["A", "mA", "V", "mV", "kV", "W", "kW", "MW", "%", "1", "/min", "Hz", "rad/s", "h", "min", "s"] as const),
];

interface ChannelState {
  missing: number;
  outside: number;
  run: number;
  value: number;
  stuck: number;
  sum: number;
  n: number;
}

/**
 * Watches one asset's rows for what is wrong with the data themselves, against what was usual where the model was made.
 * Findings are of one window; a run of one value goes on over windows.
 */
export class QualityMonitor {
  readonly #reference: DriftReference;
  readonly #states: ChannelState[];
  #rows = 0;
  #gaps = 0;
  #ahead = 0;
  #lastAtMs = Number.NaN;

  constructor(reference: DriftReference) {
    this.#reference = reference;
    this.#states = reference.channels.map(() => ({
      missing: 0,
      outside: 0,
      run: 0,
      value: Number.NaN,
      stuck: 0,
      sum: 0,
      n: 0,
    }));
  }

  /** Takes a row: values in the order of the reference's channels, NaN = missing. */
  add(observedAtMs: number, nowMs: number, values: ArrayLike<number>): void {
    this.#rows += 1;
    if (observedAtMs - this.#lastAtMs > GAP_INTERVALS * this.#reference.rowMs) this.#gaps += 1;
    if (observedAtMs > nowMs + AHEAD_MS) this.#ahead += 1;
    this.#lastAtMs = observedAtMs;
    for (let c = 0; c < this.#states.length; c += 1)
      this.#take(this.#states[c]!, this.#reference.channels[c]!, values[c]!);
  }

  /** What the window's rows were wrong in; the next row begins a new window. */
  close(): QualityFinding[] {
    const findings: QualityFinding[] = [];
    for (const [c, state] of this.#states.entries()) {
      findings.push(...this.#findingsOf(state, this.#reference.channels[c]!));
      Object.assign(state, { missing: 0, outside: 0, stuck: 0, sum: 0, n: 0 });
    }
    const first = this.#reference.channels[0]?.channel;
    if (first !== undefined && this.#gaps > 0) {
      findings.push(
        finding(
          first,
          "gap",
          this.#gaps,
          `rows came ${this.#gaps} times after a pause of more than ${GAP_INTERVALS} usual intervals`,
        ),
      );
    }
    if (first !== undefined && this.#ahead > 0) {
      findings.push(finding(first, "clock", this.#ahead, `${this.#ahead} rows carry a time that has not come yet`));
    }
    this.#rows = 0;
    this.#gaps = 0;
    this.#ahead = 0;
    return findings.slice(0, FINDINGS_MAX);
  }

  #take(state: ChannelState, channel: ChannelReference, value: number): void {
    if (Number.isNaN(value)) {
      state.missing += 1;
      return;
    }
    const margin = RANGE_MARGIN * (channel.max - channel.min);
    if (value < channel.min - margin || value > channel.max + margin) {
      state.outside += 1;
      state.sum += value;
      state.n += 1;
    }
    state.run = value === state.value ? state.run + 1 : 1;
    state.value = value;
    if (state.run > Math.max(STUCK_ROWS_MIN, STUCK_TIMES * channel.stuckRows)) state.stuck += 1;
  }

  #findingsOf(state: ChannelState, reference: ChannelReference): QualityFinding[] {
    const { channel } = reference;
    const found: QualityFinding[] = [];
    if (state.missing / this.#rows > reference.missing + SHARE_MIN) {
      const usual = `${Math.round(100 * reference.missing)} %`;
      found.push(
        finding(
          channel,
          "missing",
          state.missing,
          `${state.missing} of ${this.#rows} values are missing, usual are ${usual}`,
        ),
      );
    }
    if (state.outside / this.#rows > SHARE_MIN) {
      const unit = jumpedUnit(reference, state.sum / state.n);
      const range = `${short(reference.min)} to ${short(reference.max)} ${reference.unit}`;
      found.push(
        unit === undefined
          ? finding(
              channel,
              "range",
              state.outside,
              `${state.outside} of ${this.#rows} values are far outside ${range}`,
            )
          : finding(
              channel,
              "unit",
              state.outside,
              `values of about ${short(state.sum / state.n)} would be usual in ${unit}, but not in ${reference.unit}`,
            ),
      );
    }
    // A channel that hardly ever changes is not stuck.
    if (state.stuck > 0 && reference.max > reference.min) {
      found.push(
        finding(channel, "stuck", state.stuck, `the same value (${short(state.value)}) ${state.run} times in a row`),
      );
    }
    return found;
  }
}

function finding(channel: string, kind: QualityKind, rows: number, text: string): QualityFinding {
  return { channel, kind, rows, text: `${channel}: ${text}`.slice(0, 300) };
}

/** The unit in which a value outside would have been usual; undefined where none is. */
function jumpedUnit({ unit, min, max }: ChannelReference, value: number): string | undefined {
  return USUAL_UNITS.find((other) => {
    if (other === unit) return false;
    const conversion = conversionOf(other, unit);
    if (!conversion.ok) return false;
    const meant = value * conversion.value.scale + conversion.value.offset;
    return meant >= min && meant <= max;
  });
}

function short(value: number): string {
  return String(Number(value.toPrecision(4)));
}

/** What is usual of each channel's data, from rows of the reference by asset in time order (NaN = missing). */
export function channelReferences(
  channels: readonly { readonly channel: string; readonly unit: string }[],
  assets: readonly { readonly columns: readonly ArrayLike<number>[] }[],
): ChannelReference[] {
  return channels.flatMap(({ channel, unit }, c) => {
    let [min, max, missing, rows, stuckRows] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 0, 0, 0];
    for (const { columns } of assets) {
      let run = 0;
      let before = Number.NaN;
      const column = columns[c]!;
      rows += column.length;
      for (let i = 0; i < column.length; i += 1) {
        const value = column[i]!;
        if (Number.isNaN(value)) {
          missing += 1;
          continue;
        }
        min = Math.min(min, value);
        max = Math.max(max, value);
        run = value === before ? run + 1 : 1;
        before = value;
        stuckRows = Math.max(stuckRows, run);
      }
    }
    return min > max ? [] : [{ channel, unit, min, max, missing: missing / rows, stuckRows }];
  });
}
