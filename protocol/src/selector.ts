import { err, ok, type Result } from "./result.ts";

/** One requirement of a label selector (Kubernetes syntax). All of a selector's requirements must hold. */
export type Requirement =
  | { readonly kind: "in" | "notIn"; readonly key: string; readonly values: readonly string[] }
  | { readonly kind: "exists" | "absent"; readonly key: string }
  | { readonly kind: "above" | "below"; readonly key: string; readonly bound: number };
export type Selector = readonly Requirement[];

const KEY = /^[A-Za-z0-9](?:[A-Za-z0-9_./-]{0,61}[A-Za-z0-9])?$/;
const VALUE = /^(?:[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,126}[A-Za-z0-9])?)?$/;
const TERM =
  /^\s*(?:(!)\s*(?<absent>[\w./-]+)|(?<key>[\w./-]+)(?:\s*(?<operator>==|=|!=|>|<)\s*(?<value>[\w.-]*)|\s+(?<set>in|notin)\s*\((?<values>[^()]*)\))?)\s*$/;

/**
 * Parses a label selector: `site=a,hw in (orin,xavier),!retired,line!=2,memoryMb>2000`. The empty one selects everything.
 * `SELECTOR_INVALID` names the part that cannot be read.
 */
export function parseSelector(text: string): Result<Selector> {
  if (text.length > 1_000)
    return err("SELECTOR_INVALID", { part: text.slice(0, 40), reason: "it is longer than 1000 characters" });
  if (text.trim() === "") return ok([]);
  const requirements: Requirement[] = [];
  for (const part of splitTerms(text)) {
    const requirement = parseTerm(part);
    if (!requirement) return err("SELECTOR_INVALID", { part, reason: "it is no requirement" });
    const values = "values" in requirement ? requirement.values : [];
    if (!KEY.test(requirement.key)) return err("SELECTOR_INVALID", { part, reason: "its key is not a label name" });
    if (!values.every((value) => VALUE.test(value)))
      return err("SELECTOR_INVALID", { part, reason: "a value is not a label value" });
    requirements.push(requirement);
  }
  return ok(requirements);
}

/**
 * Whether labels meet every requirement. As in Kubernetes, `!=` and `notin` also hold where the key is absent, `>` and `<`
 * only where its value is a whole number.
 */
export function selects(selector: Selector, labels: Readonly<Record<string, string>>): boolean {
  return selector.every((requirement) =>
    meets(requirement, Object.hasOwn(labels, requirement.key) ? labels[requirement.key] : undefined),
  );
}

function meets(requirement: Requirement, value: string | undefined): boolean {
  switch (requirement.kind) {
    case "exists":
      return value !== undefined;
    case "absent":
      return value === undefined;
    case "in":
      return value !== undefined && requirement.values.includes(value);
    case "notIn":
      return value === undefined || !requirement.values.includes(value);
    case "above":
      return wholeNumber(value) > requirement.bound;
    case "below":
      return wholeNumber(value) < requirement.bound;
  }
}

/** NaN, which nothing is above or below, for what is no whole number. */
function wholeNumber(text = ""): number {
  return /^-?\d{1,15}$/.test(text) ? Number(text) : Number.NaN;
}

/** Whether a selector demands everything that the other demands, word for word: then it selects nothing beyond it. */
export function narrows(selector: Selector, wider: Selector): boolean {
  const demanded = new Set(selector.map((requirement) => formatSelector([requirement])));
  return wider.every((requirement) => demanded.has(formatSelector([requirement])));
}

/** The values one of which a selector demands of a key; undefined where it leaves that open. */
export function demanded(selector: Selector, key: string): readonly string[] | undefined {
  const values = selector.flatMap((one) => (one.kind === "in" && one.key === key ? [one.values] : []));
  // All requirements hold: the shortest list bounds what the others leave.
  return values.toSorted((a, b) => a.length - b.length)[0];
}

/** The selector as text: what `parseSelector` reads back as the same. */
export function formatSelector(selector: Selector): string {
  return selector
    .map((requirement) => {
      if ("bound" in requirement)
        return `${requirement.key}${requirement.kind === "above" ? ">" : "<"}${requirement.bound}`;
      if (!("values" in requirement)) return requirement.kind === "exists" ? requirement.key : `!${requirement.key}`;
      const set = `(${requirement.values.join(",")})`;
      return `${requirement.key} ${requirement.kind === "in" ? "in" : "notin"} ${set}`;
    })
    .join(",");
}

/** Splits at commas outside parentheses. */
function splitTerms(text: string): string[] {
  const terms: string[] = [];
  let depth = 0;
  let start = 0;
  for (let index = 0; index < text.length; index++) {
    if (text[index] === "(") depth++;
    else if (text[index] === ")") depth--;
    else if (text[index] === "," && depth === 0) {
      terms.push(text.slice(start, index));
      start = index + 1;
    }
  }
  terms.push(text.slice(start));
  return terms;
}

function parseTerm(part: string): Requirement | undefined {
  const groups = TERM.exec(part)?.groups;
  if (!groups) return undefined;
  const { absent, key = "", operator, value = "", set, values = "" } = groups;
  if (absent !== undefined) return { kind: "absent", key: absent };
  if (operator === ">" || operator === "<") {
    const bound = wholeNumber(value);
    return Number.isNaN(bound) ? undefined : { kind: operator === ">" ? "above" : "below", key, bound };
  }
  if (operator !== undefined) return { kind: operator === "!=" ? "notIn" : "in", key, values: [value] };
  if (set !== undefined) {
    return { kind: set === "in" ? "in" : "notIn", key, values: values.split(",").map((one) => one.trim()) };
  }
  return { kind: "exists", key };
}
