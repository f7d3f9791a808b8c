import { err, ok, type Result } from "./result.ts";
import { nearest } from "./text.ts";

// A subset of UCUM (ucum.org, "Unified Code for Units of Measure", case sensitive): prefixes, products, quotients,
// integer exponents, annotations in braces, and the temperature scales with an offset. Dimensions are exponents of
// length, mass, time, current, temperature, information; plane angle and counts are numbers.

/** Affine conversion: target = value * scale + offset. `same` when nothing has to be computed. */
export interface Conversion {
  readonly scale: number;
  readonly offset: number;
  readonly same: boolean;
}

/** A parsed unit in SI base units: base = value * scale + offset. */
export interface Unit {
  readonly code: string;
  readonly dimension: readonly number[];
  readonly scale: number;
  readonly offset: number;
}

type Atom = readonly [dimension: readonly number[], scale: number, prefixes: boolean, offset?: number];
const dim = (m: number, kg: number, s: number, a = 0, k = 0, by = 0) => [m, kg, s, a, k, by] as const;
const NUMBER = dim(0, 0, 0);

const ATOMS: Readonly<Record<string, Atom>> = {
  m: [dim(1, 0, 0), 1, true],
  s: [dim(0, 0, 1), 1, true],
  min: [dim(0, 0, 1), 60, false],
  h: [dim(0, 0, 1), 3_600, false],
  d: [dim(0, 0, 1), 86_400, false],
  A: [dim(0, 0, 0, 1), 1, true],
  K: [dim(0, 0, 0, 0, 1), 1, true],
  Cel: [dim(0, 0, 0, 0, 1), 1, false, 273.15],
  "[degF]": [dim(0, 0, 0, 0, 1), 5 / 9, false, 459.67 * (5 / 9)],
  "[in_i]": [dim(1, 0, 0), 0.0254, false],
  "[ft_i]": [dim(1, 0, 0), 0.3048, false],
  Hz: [dim(0, 0, -1), 1, true],
  N: [dim(1, 1, -2), 1, true],
  Pa: [dim(-1, 1, -2), 1, true],
  bar: [dim(-1, 1, -2), 1e5, true],
  "[psi]": [dim(-1, 1, -2), 6_894.757293168361, false],
  J: [dim(2, 1, -2), 1, true],
  W: [dim(2, 1, -3), 1, true],
  V: [dim(2, 1, -3, -1), 1, true],
  Ohm: [dim(2, 1, -3, -2), 1, true],
  C: [dim(0, 0, 1, 1), 1, true],
  T: [dim(0, 1, -2, -1), 1, true],
  L: [dim(3, 0, 0), 1e-3, true],
  l: [dim(3, 0, 0), 1e-3, true],
  "[g]": [dim(1, 0, -2), 9.80665, true],
  kg: [dim(0, 1, 0), 1, false],
  t: [dim(0, 1, 0), 1_000, false],
  rad: [NUMBER, 1, true],
  deg: [NUMBER, Math.PI / 180, false],
  "%": [NUMBER, 0.01, false],
  "[ppm]": [NUMBER, 1e-6, false],
  By: [dim(0, 0, 0, 0, 0, 1), 1, true],
  bit: [dim(0, 0, 0, 0, 0, 1), 0.125, true],
};

/** What people write in place of the UCUM code. In this trade "g" is standard gravity, never the gram. */
export const ALIASES: Readonly<Record<string, string>> = {
  g: "[g]",
  mg: "m[g]",
  psi: "[psi]",
  degF: "[degF]",
  "°F": "[degF]",
  "°C": "Cel",
  degC: "Cel",
  ppm: "[ppm]",
  rpm: "/min",
  "": "1",
};

const PREFIXES: Readonly<Record<string, number>> = {
  T: 1e12,
  G: 1e9,
  M: 1e6,
  k: 1e3,
  h: 1e2,
  d: 1e-1,
  c: 1e-2,
  m: 1e-3,
  u: 1e-6,
  n: 1e-9,
};

/** The units people meet most: for "did you mean" and the docs. */
export const COMMON_UNITS = [
  ...["1", "%", "Cel", "K", "[degF]", "mm/s", "m/s", "um", "mm", "m", "[g]", "m/s2", "Pa", "kPa", "MPa", "bar", "mbar"],
  ...["[psi]", "/min", "Hz", "kHz", "rad/s", "mA", "A", "mV", "V", "kV", "W", "kW", "MW", "J", "kW.h", "N", "kN"],
  ...["N.m", "kg", "kg/s", "L/min", "L/h", "m3/h", "s", "min", "h", "d", "ms", "By", "kBy", "By/s", "Ohm", "[ppm]"],
] as const;

const parsed = new Map<string, Result<Unit>>();

/** Reads a unit's code; `UNIT_UNKNOWN` names the nearest known one. */
export function parseUnit(code: string): Result<Unit> {
  const known = parsed.get(code);
  if (known !== undefined) return known;
  const unit = parse(code);
  // Bounded: codes come from configs and manifests, which are not ours.
  if (parsed.size < 1_000) parsed.set(code, unit);
  return unit;
}

/** How a value in one unit becomes a value in another. */
export function conversionOf(from: string, to: string): Result<Conversion> {
  const source = parseUnit(from);
  if (!source.ok) return source;
  const target = parseUnit(to);
  if (!target.ok) return target;
  const { dimension } = target.value;
  if (source.value.dimension.some((exponent, i) => exponent !== dimension[i])) {
    return err("UNIT_MISMATCH", { from, to });
  }
  const scale = source.value.scale / target.value.scale;
  const offset = (source.value.offset - target.value.offset) / target.value.scale;
  return ok({ scale, offset, same: scale === 1 && offset === 0 });
}

/** Converts one value. */
export function convert(value: number, from: string, to: string): Result<number> {
  const conversion = conversionOf(from, to);
  if (!conversion.ok) return conversion;
  return ok(conversion.value.same ? value : value * conversion.value.scale + conversion.value.offset);
}

function unknown(code: string): Result<Unit> {
  const close = nearest(code, [...COMMON_UNITS, ...Object.keys(ALIASES).filter((alias) => alias.length > 1)]);
  return err("UNIT_UNKNOWN", { unit: code, hint: close === undefined ? "" : `; did you mean "${close}"?` });
}

function parse(code: string): Result<Unit> {
  if (code.length > 32) return unknown(code);
  const bare = Object.hasOwn(ALIASES, code) ? ALIASES[code]! : code.replace(/\{[!-z|~]*\}/g, "");
  // An annotation alone ("{row}") is the number 1.
  const text = bare === "" ? "1" : bare;
  const dimension = [0, 0, 0, 0, 0, 0];
  let scale = 1;
  let offset = 0;
  const terms = [...text.matchAll(/([./]?)([^./]+)/g)];
  if (terms.map(([whole]) => whole).join("") !== text) return unknown(code);
  for (const [i, [, operator, term]] of terms.entries()) {
    // UCUM reads strictly from left to right: a slash divides by its own term only; "." may not lead.
    if (i === 0 ? operator === "." : operator === "") return unknown(code);
    const component = parseTerm(term!);
    if (component === undefined) return unknown(code);
    const sign = operator === "/" ? -1 : 1;
    if (component.offset !== 0) {
      // A scale with an offset stands alone: "Cel/min" would not be affine.
      if (terms.length > 1 || component.exponent !== 1) return unknown(code);
      offset = component.offset;
    }
    const exponent = sign * component.exponent;
    scale *= component.scale ** exponent;
    for (let d = 0; d < dimension.length; d += 1) dimension[d]! += component.dimension[d]! * exponent;
  }
  return ok({ code, dimension: dimension.map((exponent) => exponent + 0), scale, offset });
}

interface Term {
  readonly dimension: readonly number[];
  readonly scale: number;
  readonly offset: number;
  readonly exponent: number;
}

function parseTerm(term: string): Term | undefined {
  if (/^[1-9]\d{0,8}$/.test(term)) return { dimension: NUMBER, scale: Number(term), offset: 0, exponent: 1 };
  const match = /^(.*?)([+-]?[1-9])?$/.exec(term)!;
  const name = match[1]!;
  const exponent = match[2] === undefined ? 1 : Number(match[2]);
  const atom = atomOf(name);
  return atom === undefined ? undefined : { ...atom, exponent };
}

function atomOf(name: string): Omit<Term, "exponent"> | undefined {
  if (Object.hasOwn(ATOMS, name)) {
    const [dimension, scale, , offset = 0] = ATOMS[name]!;
    return { dimension, scale, offset };
  }
  const prefix = name.slice(0, 1);
  const rest = name.slice(1);
  if (!Object.hasOwn(PREFIXES, prefix) || !Object.hasOwn(ATOMS, rest)) return undefined;
  const [dimension, scale, prefixes] = ATOMS[rest]!;
  return prefixes ? { dimension, scale: scale * PREFIXES[prefix]!, offset: 0 } : undefined;
}
