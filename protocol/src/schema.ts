import { Ajv2020, type ValidateFunction } from "ajv/dist/2020.js";
import { type Static, type TNumberOptions, type TSchema, type TString, Type } from "typebox";
import { err, ok, type Result } from "./result.ts";

// Nothing is coerced, defaulted or dropped: what was sent is what is judged (a null threshold must not become 0).
export const OPTIONS = {
  strict: true,
  // Schemas are built by TypeBox and compiled strictly; to hold them against the metaschema costs each thread twice as long.
  validateSchema: false,
  strictTuples: false,
  allErrors: false,
  coerceTypes: false,
  useDefaults: false,
  removeAdditional: false,
  allowUnionTypes: true,
} as const;
// Making the code of a schema shorter takes longer than making it, and it then runs a third faster: worth it for what is
// judged again and again, and not for what a process judges once as it starts.
const quick = new Ajv2020({ ...OPTIONS, code: { optimize: false } });
const thorough = new Ajv2020(OPTIONS);
const CHECKS_BEFORE_THOROUGH = 500;

/** Schema of one of these words, typed as their union. */
export function oneOf<const Words extends readonly string[]>(words: Words) {
  return Type.Unsafe<Words[number]>({ type: "string", enum: [...words] });
}

/**
 * Schema of a whole number that can be counted with: to JSON Schema 1e300 is an integer too, which no store has a column
 * for, and beyond 2^53 a number that grows by one stays what it was.
 */
export function integer(options: TNumberOptions = {}) {
  return Type.Integer({ minimum: Number.MIN_SAFE_INTEGER, maximum: Number.MAX_SAFE_INTEGER, ...options });
}

/** Schema of exactly two of these. (TypeBox's own tuples are written in a draft that Ajv 2020 refuses.) */
export function pairOf<S extends TSchema>(of: S) {
  return Type.Unsafe<[Static<S>, Static<S>]>({
    type: "array",
    prefixItems: [of, of],
    items: false,
    minItems: 2,
    maxItems: 2,
  });
}

/**
 * Schema of a map: every member's name fits `key`, every value `value`. A bare Type.Record judges only the members whose
 * name fits the key's pattern, lets all others pass with anything in them, and forgets the key's length.
 */
export function mapOf<Key extends TString, Value extends TSchema>(key: Key, value: Value, options: object = {}) {
  return Type.Record(key, value, { ...options, propertyNames: key, additionalProperties: false });
}

/** A compiled schema: judges a value, and parses JSON bytes after bounding their size. */
export interface Validator<T> {
  /** The value itself when it fits, `INVALID_SHAPE` with path and expectation otherwise. */
  check(value: unknown): Result<T>;
  /** Parses UTF-8 JSON of at most `maxBytes`, then checks it. */
  parse(bytes: Uint8Array | string, maxBytes?: number): Result<T>;
}

/** Every schema there is a validator of, for who compiles them beforehand (packaging/schemas.ts). */
export const schemas: TSchema[] = [];

/** Compiles a TypeBox schema; `what` names the thing in error sentences ("The manifest"). */
export function validator<S extends TSchema>(what: string, schema: S): Validator<Static<S>> {
  // Compiling costs milliseconds each; most processes use few of the schemas.
  schemas.push(schema);
  let compiled: ValidateFunction | undefined;
  let checks = 0;
  const check = (value: unknown): Result<Static<S>> => {
    compiled ??= quick.compile(schema);
    if (checks < CHECKS_BEFORE_THOROUGH && ++checks === CHECKS_BEFORE_THOROUGH) compiled = thorough.compile(schema);
    if (compiled(value)) return ok(value as Static<S>);
    const first = compiled.errors?.[0];
    return err("INVALID_SHAPE", {
      what,
      path: first?.instancePath || "/",
      expected: expectation(first),
    });
  };
  return {
    check,
    parse(bytes, maxBytes = 65_536) {
      const size = typeof bytes === "string" ? Buffer.byteLength(bytes) : bytes.byteLength;
      if (size > maxBytes) return err("TOO_LARGE", { what, actual: size, unit: "bytes", limit: maxBytes });
      let value: unknown;
      try {
        value = JSON.parse(typeof bytes === "string" ? bytes : textOf(bytes));
      } catch (cause) {
        return err("INVALID_JSON", { what, reason: (cause as Error).message });
      }
      return check(value);
    },
  };
}

function textOf({ buffer, byteOffset, byteLength }: Uint8Array): string {
  return Buffer.from(buffer, byteOffset, byteLength).toString("utf8");
}

function expectation(error: NonNullable<ValidateFunction["errors"]>[number] | undefined): string {
  if (!error) return "it does not fit its schema";
  const params = error.params as Record<string, unknown>;
  if (error.keyword === "additionalProperties") return `unknown member "${params["additionalProperty"]}"`;
  if (error.keyword === "enum") return `must be one of ${JSON.stringify(params["allowedValues"])}`;
  if (error.keyword === "const") return `must be ${JSON.stringify(params["allowedValue"])}`;
  return error.message ?? error.keyword;
}
