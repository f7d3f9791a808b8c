import fc from "fast-check";

interface Schema {
  readonly type?: string | readonly string[];
  readonly const?: unknown;
  readonly enum?: readonly unknown[];
  readonly anyOf?: readonly Schema[];
  readonly oneOf?: readonly Schema[];
  readonly pattern?: string;
  readonly minLength?: number;
  readonly maxLength?: number;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly exclusiveMinimum?: number;
  readonly exclusiveMaximum?: number;
  readonly items?: Schema | false;
  readonly prefixItems?: readonly Schema[];
  readonly minItems?: number;
  readonly maxItems?: number;
  readonly uniqueItems?: boolean;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly required?: readonly string[];
  readonly patternProperties?: Readonly<Record<string, Schema>>;
  readonly additionalProperties?: boolean | Schema;
}

/** Values that fit a JSON schema: the part of JSON Schema that our TypeBox schemas use. */
export function fitting(input: object): fc.Arbitrary<unknown> {
  const schema = input as Schema;
  if ("const" in schema) return fc.constant(schema.const);
  if (schema.enum) return fc.constantFrom(...schema.enum);
  const choices = schema.anyOf ?? schema.oneOf;
  if (choices) return fc.oneof(...choices.map(fitting));
  const types = typeof schema.type === "string" ? [schema.type] : (schema.type ?? []);
  if (types.length > 1) return fc.oneof(...types.map((type) => fitting({ ...schema, type })));
  switch (types[0]) {
    case "string":
      return text(schema);
    case "integer":
      return fc.integer({
        min: Math.max(schema.minimum ?? -1000, -(2 ** 31)),
        max: Math.min(schema.maximum ?? 1e9, 2 ** 31 - 1),
      });
    case "number":
      return number(schema);
    case "boolean":
      return fc.boolean();
    case "null":
      return fc.constant(null);
    case "array":
      return list(schema);
    case "object":
      return object(schema);
    default:
      return fc.jsonValue({ maxDepth: 2 });
  }
}

function text({ pattern, minLength = 0, maxLength = Number.MAX_SAFE_INTEGER }: Schema): fc.Arbitrary<string> {
  if (pattern === undefined) return fc.string({ minLength, maxLength: Math.min(maxLength, minLength + 40) });
  return fc.stringMatching(new RegExp(pattern)).filter((one) => one.length >= minLength && one.length <= maxLength);
}

function number(schema: Schema): fc.Arbitrary<number> {
  return fc.double({
    min: schema.exclusiveMinimum ?? schema.minimum ?? -1e6,
    max: schema.exclusiveMaximum ?? schema.maximum ?? 1e6,
    minExcluded: schema.exclusiveMinimum !== undefined,
    maxExcluded: schema.exclusiveMaximum !== undefined,
    noNaN: true,
  });
}

function list(schema: Schema): fc.Arbitrary<unknown[]> {
  if (schema.prefixItems) return fc.tuple(...schema.prefixItems.map(fitting));
  const lengths = {
    minLength: schema.minItems ?? 0,
    maxLength: Math.min(schema.maxItems ?? 4, (schema.minItems ?? 0) + 4),
  };
  const item = fitting(schema.items || {});
  return schema.uniqueItems
    ? fc.uniqueArray(item, { ...lengths, comparator: (a, b) => JSON.stringify(a) === JSON.stringify(b) })
    : fc.array(item, lengths);
}

function object(schema: Schema): fc.Arbitrary<object> {
  const own = Object.entries(schema.properties ?? {}).map(([name, member]) => [name, fitting(member)] as const);
  const fixed = fc.record(Object.fromEntries(own), { requiredKeys: (schema.required ?? []) as never[] });
  const [pattern, member] = Object.entries(schema.patternProperties ?? {})[0] ?? [];
  if (pattern === undefined || member === undefined) return fixed as fc.Arbitrary<object>;
  const named = fc.stringMatching(new RegExp(pattern)).filter((name) => name !== "__proto__");
  return fc.tuple(fixed, fc.dictionary(named, fitting(member), { maxKeys: 4 })).map(([a, b]) => ({ ...a, ...b }));
}

/** The value with one thing changed somewhere: a member gone, renamed, added, or of another type. */
export function bent(value: unknown): fc.Arbitrary<unknown> {
  const other = fc.oneof(
    fc.constantFrom<unknown>(null, "", 0, -1, 1e308, true, [], {}, "x".repeat(5000)),
    fc.jsonValue(),
  );
  if (typeof value !== "object" || value === null) return other;
  if (Array.isArray(value)) {
    if (value.length === 0) return other;
    return fc.nat(value.length - 1).chain((at) => bent(value[at]).map((one) => value.with(at, one)));
  }
  const names = Object.keys(value);
  const added = fc.string().map((name) => ({ ...value, [name]: 1 }));
  if (names.length === 0) return fc.oneof(added, other);
  const member = fc.constantFrom(...names);
  const without = member.map((name) => Object.fromEntries(Object.entries(value).filter(([one]) => one !== name)));
  const changed = member.chain((name) =>
    bent((value as Record<string, unknown>)[name]).map((one) => ({ ...value, [name]: one })),
  );
  return fc.oneof(without, changed, changed, added, other);
}
