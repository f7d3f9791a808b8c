// A channel's values lie on a grid: integer multiples of its resolution. Device, model, codec and server all use these
// three functions, so that the number a model saw is the number the server stores, bit for bit.

/** Beyond this many steps the double's own spacing comes near the resolution, and steps would not round-trip. */
const STEPS_MAX = 2 ** 51;

/** 1 / resolution when that is an integer ("0.001" is not a double, 1000 is): division by it rounds correctly. */
function inverseOf(resolution: number): number | undefined {
  if (resolution >= 1) return undefined;
  const inverse = Math.round(1 / resolution);
  return inverse < 2 ** 40 && 1 / inverse === resolution ? inverse : undefined;
}

/** A channel's grid. */
export interface Grid {
  /**
   * The integer number of steps nearest to a value (a half goes up), or undefined when the value is not finite or is too
   * large for the resolution to mean anything. Never -0.
   */
  stepsOf(value: number): number | undefined;
  /** The value of so many steps; the exact inverse of `stepsOf` for every integer it can return. */
  valueOf(steps: number): number;
}

/** The grid of a resolution, for many values: what depends on the resolution alone is computed once. */
export function gridOf(resolution: number): Grid {
  const inverse = inverseOf(resolution);
  return {
    stepsOf: (value) => stepsWith(value, resolution, inverse),
    valueOf: (steps) => valueWith(steps, resolution, inverse),
  };
}

/** {@link Grid.stepsOf} of a single value. */
export function stepsOf(value: number, resolution: number): number | undefined {
  return stepsWith(value, resolution, inverseOf(resolution));
}

/** {@link Grid.valueOf} of a single number of steps. */
export function valueOfSteps(steps: number, resolution: number): number {
  return valueWith(steps, resolution, inverseOf(resolution));
}

function stepsWith(value: number, resolution: number, inverse: number | undefined): number | undefined {
  if (!Number.isFinite(value)) return undefined;
  const steps = Math.round(inverse === undefined ? value / resolution : value * inverse);
  return Math.abs(steps) <= STEPS_MAX ? steps + 0 : undefined;
}

function valueWith(steps: number, resolution: number, inverse: number | undefined): number {
  return inverse === undefined ? steps * resolution : steps / inverse;
}

/**
 * The value on the channel's grid nearest to `value`. Idempotent, and with decimal resolutions the shortest decimal
 * text (1.234, not 1.2340000000000002). Values that have no place on the grid come back as they are.
 */
export function roundToResolution(value: number, resolution: number): number {
  const steps = stepsOf(value, resolution);
  return steps === undefined ? value : valueOfSteps(steps, resolution);
}
