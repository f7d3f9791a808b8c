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

/**
 * The integer number of resolution steps nearest to a value (a half goes up), or undefined when the value is not
 * finite or is too large for its resolution to mean anything. Never -0.
 */
export function stepsOf(value: number, resolution: number): number | undefined {
  if (!Number.isFinite(value)) return undefined;
  const inverse = inverseOf(resolution);
  const steps = Math.round(inverse === undefined ? value / resolution : value * inverse);
  return Math.abs(steps) <= STEPS_MAX ? steps + 0 : undefined;
}

/** The value of so many steps; the exact inverse of `stepsOf` for every integer it can return. */
export function valueOfSteps(steps: number, resolution: number): number {
  const inverse = inverseOf(resolution);
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
