import { type ErrorCode, type Problem, problem } from "@bellwether/protocol/errors.ts";
import { isName } from "@bellwether/protocol/ids.ts";
import { nearest } from "@bellwether/protocol/text.ts";
import { parseIsoMs } from "@bellwether/protocol/time.ts";
import { parseUnit } from "@bellwether/protocol/units.ts";
import { isAlias, isMap, isScalar, isSeq, type LineCounter, type Node, type YAMLMap } from "yaml";

// Small readers over YAML nodes, put together like a schema. They see lines, so a wrong value is named where it stands;
// they collect every fault instead of stopping at the first.

/** What a faulty key should have been. */
export interface FaultDetail {
  readonly expected: string;
  readonly found?: string;
  readonly hint?: string;
}

/** Enough to correct a file by: nothing more is read, so that a hostile file costs no more either. */
const FAULTS_MAX = 50;

/** The last step of a key: ".member" or "[3]". Strangers' keys may hold anything; it is shorter without it. */
const LAST_STEP = /[.[][^.[]*$/;

/** There are {@link FAULTS_MAX} faults: ends the reading from any depth. Whoever reads the file catches it. */
export class EnoughFaults extends Error {}

/** One reading of one file: where each key stands, and what was wrong. */
export class Reading {
  readonly file: string;
  readonly problems: Problem[] = [];
  readonly #lines: LineCounter;
  readonly #places = new Map<string, number>();

  constructor(file: string, lines: LineCounter) {
    this.file = file;
    this.#lines = lines;
  }

  /** Notes where a key stands. Aliases are not followed (no bombs, no rings): every reader refuses them as a value. */
  enter(node: Node | null | undefined, key: string): Node | undefined {
    if (node?.range) this.#places.set(key, node.range[0]);
    return node ?? undefined;
  }

  /** The line of a key, or of the nearest key around it that is there. */
  lineOf(key: string): number {
    for (let around = key; around !== ""; around = around.slice(0, Math.max(0, around.search(LAST_STEP)))) {
      const offset = this.#places.get(around);
      if (offset !== undefined) return this.#lines.linePos(offset).line;
    }
    return 1;
  }

  fault(code: ErrorCode, key: string, detail: FaultDetail): undefined {
    const all = { hint: "", found: "nothing", ...detail };
    this.problems.push(problem(code, { file: this.file, line: this.lineOf(key), key: key || "the file", ...all }));
    if (this.problems.length === FAULTS_MAX) throw new EnoughFaults();
    return undefined;
  }
}

/** Reads a node; undefined after it has reported a fault. */
export type Read<T> = (reading: Reading, node: Node | null | undefined, key: string) => T | undefined;

function shown(node: Node | undefined): string {
  if (node === undefined) return "nothing";
  if (isMap(node)) return "a mapping";
  if (isSeq(node)) return "a list";
  if (isAlias(node)) return "an alias (write it out)";
  const value = isScalar(node) ? node.value : undefined;
  return brief(typeof value === "number" ? String(value) : (JSON.stringify(value) ?? String(value)));
}

/** A scalar that `accept` turns into a value. */
function scalar<T>(expected: string, accept: (value: unknown) => T | undefined): Read<T> {
  return (reading, given, key) => {
    const node = reading.enter(given, key);
    const value = isScalar(node) ? accept(node.value) : undefined;
    return value === undefined ? reading.fault("CONFIG_WRONG", key, { expected, found: shown(node) }) : value;
  };
}

/** The text of a scalar that names something. A bare 007 is a number in YAML; as a name it means what was written. */
export function writtenName(node: Node | null | undefined): string | undefined {
  if (!isScalar(node)) return undefined;
  if (typeof node.value === "number") return node.source;
  return typeof node.value === "string" ? node.value : undefined;
}

export const name: Read<string> = (reading, given, key) => {
  const node = reading.enter(given, key);
  const text = writtenName(node);
  if (text !== undefined && isName(text)) return text;
  const expected = "a name (1 to 64 of A-Z a-z 0-9 . _ -)";
  return reading.fault("CONFIG_WRONG", key, { expected, found: shown(node) });
};

// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const CONTROL = /[\u0000-\u001f\u007f]/;

export function text(expected: string, maxLength: number, fits: (text: string) => boolean = () => true): Read<string> {
  const accept = (v: unknown) =>
    // What UTF-8 cannot carry, or a line cannot hold, names no file, column or topic.
    typeof v === "string" && v.length <= maxLength && v.isWellFormed() && !CONTROL.test(v) && fits(v) ? v : undefined;
  return scalar(expected, accept);
}

export function number(min: number, max: number): Read<number> {
  const accept = (v: unknown) => (typeof v === "number" && v >= min && v <= max ? v : undefined);
  return scalar(`a number from ${min} to ${max}`, accept);
}

export function integer(min: number, max: number): Read<number> {
  const accept = (v: unknown) => (typeof v === "number" && Number.isInteger(v) && v >= min && v <= max ? v : undefined);
  return scalar(`an integer from ${min} to ${max}`, accept);
}

/** A number above 0. */
export const positive = scalar("a number above 0", (v) =>
  typeof v === "number" && v > 0 && Number.isFinite(v) ? v : undefined,
);

export const boolean = scalar("true or false", (v) => (typeof v === "boolean" ? v : undefined));

export const isoTime = scalar('a time with its zone, such as "2026-01-01T00:00:00Z"', (v) => {
  const ms = typeof v === "string" ? parseIsoMs(v) : undefined;
  return ms !== undefined && ms >= 0 ? ms : undefined;
});

export function oneOf<const Words extends readonly string[]>(words: Words): Read<Words[number]> {
  return (reading, given, key) => {
    const node = reading.enter(given, key);
    const value = isScalar(node) ? node.value : undefined;
    if (typeof value === "string" && words.includes(value)) return value;
    const close = typeof value === "string" ? nearest(value, words) : undefined;
    const hint = close === undefined ? "" : ` (did you mean "${close}"?)`;
    return reading.fault("CONFIG_WRONG", key, {
      expected: `one of ${words.join(", ")}`,
      found: `${shown(node)}${hint}`,
    });
  };
}

export const unit: Read<string> = (reading, given, key) => {
  const node = reading.enter(given, key);
  const value = isScalar(node) ? (typeof node.value === "number" ? String(node.value) : node.value) : undefined;
  const parsed = typeof value === "string" ? parseUnit(value) : undefined;
  if (parsed?.ok) return value as string;
  const hint = parsed === undefined ? "" : String(parsed.error.detail["hint"]).replace("; ", ", ");
  return reading.fault("CONFIG_WRONG", key, { expected: `a UCUM unit such as mm/s`, found: `${shown(node)}${hint}` });
};

/** [low, high] with low < high. */
export const range: Read<readonly [number, number]> = (reading, given, key) => {
  const node = reading.enter(given, key);
  const items = isSeq(node) ? node.items.map((item) => (isScalar(item) ? item.value : undefined)) : [];
  const [low, high] = items;
  if (items.length === 2 && typeof low === "number" && typeof high === "number") {
    if (low < high && Number.isFinite(low) && Number.isFinite(high)) return [low, high];
    const found = `[${low}, ${high}]`;
    return reading.fault("CONFIG_WRONG", key, { expected: "[low, high] with low below high", found });
  }
  return reading.fault("CONFIG_WRONG", key, { expected: "[low, high], two numbers", found: shown(node) });
};

export function list<T>(read: Read<T>, max: number, min = 0): Read<readonly T[]> {
  return (reading, given, key) => {
    const node = reading.enter(given, key);
    if (!isSeq(node)) {
      return reading.fault("CONFIG_WRONG", key, { expected: "a list", found: shown(node) });
    }
    if (node.items.length > max || node.items.length < min) {
      const expected = `a list of ${min} to ${max}`;
      return reading.fault("CONFIG_WRONG", key, { expected, found: `${node.items.length} items` });
    }
    const before = reading.problems.length;
    const values = node.items.map((item, i) => read(reading, item as Node | null, `${key}[${i}]`));
    return reading.problems.length > before ? undefined : (values as readonly T[]);
  };
}

/** A mapping of names to values. */
export function record<T>(read: Read<T>, max: number): Read<Readonly<Record<string, T>>> {
  return (reading, given, key) => {
    const node = reading.enter(given, key);
    if (!isMap(node) || node.items.length > max) {
      return reading.fault("CONFIG_WRONG", key, { expected: `a mapping of at most ${max}`, found: shown(node) });
    }
    const entries: [string, T][] = [];
    let whole = true;
    for (const [member, value] of membersOf(node, reading, key)) {
      const place = `${key}.${brief(member)}`;
      const read1 = read(reading, value, place);
      if (!isName(member)) {
        whole = false;
        reading.fault("CONFIG_WRONG", place, { expected: "named by a name", found: brief(member) });
      }
      if (read1 === undefined) whole = false;
      else entries.push([member, read1]);
    }
    return whole ? Object.fromEntries(entries) : undefined;
  };
}

interface Field<T, Presence extends "required" | "optional"> {
  readonly read: Read<T>;
  readonly presence: Presence;
  readonly fallback?: T;
}

export const required = <T>(read: Read<T>): Field<T, "required"> => ({ read, presence: "required" });
export const optional = <T>(read: Read<T>): Field<T, "optional"> => ({ read, presence: "optional" });
/** Always there after reading. */
export const withDefault = <T>(read: Read<T>, fallback: T): Field<T, "required"> => ({
  read,
  presence: "required",
  fallback,
});

type Fields = Readonly<Record<string, Field<unknown, "required" | "optional">>>;
type Whole<F extends Fields> = {
  readonly [K in keyof F as F[K]["presence"] extends "required" ? K : never]: F[K] extends Field<
    infer T,
    "required" | "optional"
  >
    ? T
    : never;
} & {
  readonly [K in keyof F as F[K]["presence"] extends "optional" ? K : never]?: F[K] extends Field<
    infer T,
    "required" | "optional"
  >
    ? T
    : never;
};

/** A mapping with exactly these keys; an unknown one is named with the nearest known. */
export function object<F extends Fields>(fields: F): Read<Whole<F>> {
  return (reading, given, key) => {
    const node = reading.enter(given, key);
    if (!isMap(node)) {
      const expected = `a mapping with ${Object.keys(fields).join(", ")}`;
      return reading.fault("CONFIG_WRONG", key, { expected, found: shown(node) });
    }
    const before = reading.problems.length;
    const members = membersOf(node, reading, key);
    const at = (member: string) => placeOf(key, member);
    for (const [member, value, keyNode] of members) {
      if (Object.hasOwn(fields, member)) continue;
      reading.enter(keyNode ?? value, at(brief(member)));
      const close = nearest(member, Object.keys(fields));
      const hint = close === undefined ? "" : `; did you mean "${close}"?`;
      reading.fault("CONFIG_KEY_UNKNOWN", at(brief(member)), { expected: Object.keys(fields).join(", "), hint });
    }
    const whole: Record<string, unknown> = {};
    for (const [member, field] of Object.entries(fields)) {
      const found = members.find(([other]) => other === member);
      if (found === undefined) {
        if (field.fallback !== undefined) whole[member] = field.fallback;
        else if (field.presence === "required") {
          reading.fault("CONFIG_MISSING", at(member), { expected: `${key || "the file"} needs it` });
        }
        continue;
      }
      whole[member] = field.read(reading, found[1], at(member));
    }
    return reading.problems.length > before ? undefined : (whole as Whole<F>);
  };
}

/** One of several mappings, told apart by the word under `tag`. */
export function tagged<T>(tag: string, kinds: Readonly<Record<string, Read<T>>>): Read<T> {
  return (reading, given, key) => {
    const node = reading.enter(given, key);
    const word = isMap(node) ? node.get(tag) : undefined;
    if (typeof word === "string" && Object.hasOwn(kinds, word)) return kinds[word]!(reading, given, key);
    if (!isMap(node)) return reading.fault("CONFIG_WRONG", key, { expected: "a mapping", found: shown(node) });
    if (word === undefined) {
      const expected = `one of ${Object.keys(kinds).join(", ")}`;
      return reading.fault("CONFIG_MISSING", `${key}.${tag}`, { expected });
    }
    const tagNode = node.get(tag, true) as Node | undefined;
    oneOf(Object.keys(kinds))(reading, tagNode, `${key}.${tag}`);
    return undefined;
  };
}

type Member = readonly [key: string, value: Node | null, keyNode: Node | undefined];

/**
 * The members of a mapping; one that stands twice is a fault. The YAML reader's own check compares each with each: a
 * file of 60,000 keys took it minutes.
 */
function membersOf(node: YAMLMap, reading: Reading, key: string): Member[] {
  const seen = new Set<string>();
  return node.items.map(({ key: given, value }) => {
    const keyNode = given as Node | undefined;
    const member = writtenName(keyNode) ?? shown(keyNode);
    if (seen.has(member)) {
      const place = placeOf(key, brief(member));
      reading.enter(keyNode, place);
      reading.fault("CONFIG_TWICE", place, { expected: "given once", found: "the key" });
    }
    seen.add(member);
    return [member, value as Node | null, keyNode];
  });
}

const placeOf = (key: string, member: string) => (key === "" ? member : `${key}.${member}`);

/** A stranger's text within a sentence: short, and nothing that a terminal would obey. */
function brief(text: string): string {
  const cut = text.length > 60 ? `${text.slice(0, 60)}…` : text;
  return CONTROL.test(cut) ? JSON.stringify(cut) : cut;
}
