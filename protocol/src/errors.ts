import { AGENT_ERRORS } from "./errors/agent.ts";
import { API_ERRORS } from "./errors/api.ts";
import { CLI_ERRORS } from "./errors/command-line.ts";
import { COMMON_ERRORS } from "./errors/common.ts";
import { CONFIG_ERRORS } from "./errors/config.ts";
import { DRIFT_ERRORS } from "./errors/drift.ts";
import { ENROLMENT_ERRORS } from "./errors/enrolment.ts";
import { FEATURE_ERRORS } from "./errors/features.ts";
import { FLEET_ERRORS } from "./errors/fleet.ts";
import { HISTORY_ERRORS } from "./errors/history.ts";
import { INPUT_ERRORS } from "./errors/inputs.ts";
import { LINK_ERRORS } from "./errors/link.ts";
import { MODEL_ERRORS } from "./errors/model.ts";
import { OUTCOME_ERRORS } from "./errors/outcomes.ts";
import { ROLLOUT_ERRORS } from "./errors/rollout.ts";
import { TLS_ERRORS } from "./errors/tls.ts";
import { TRUST_ERRORS } from "./errors/trust.ts";

/**
 * Every error code of Bellwether. A code never changes its meaning; its sentence says what was wrong, its remedy what
 * to do. `{name}` in a sentence is filled from the detail. docs/ERRORS.md is generated from this table.
 */
export const ERRORS = {
  ...COMMON_ERRORS,
  ...CONFIG_ERRORS,
  ...INPUT_ERRORS,
  ...MODEL_ERRORS,
  ...FEATURE_ERRORS,
  ...DRIFT_ERRORS,
  ...OUTCOME_ERRORS,
  ...TRUST_ERRORS,
  ...TLS_ERRORS,
  ...LINK_ERRORS,
  ...AGENT_ERRORS,
  ...FLEET_ERRORS,
  ...ENROLMENT_ERRORS,
  ...ROLLOUT_ERRORS,
  ...HISTORY_ERRORS,
  ...API_ERRORS,
  ...CLI_ERRORS,
} as const;

export type ErrorCode = keyof typeof ERRORS;

/** One operating error: stable code, a sentence for people, and the facts. Serialises as it is. */
export interface Problem {
  readonly code: ErrorCode;
  readonly message: string;
  readonly detail: Readonly<Record<string, unknown>>;
}

/** Builds the problem of a code: its sentence with the detail filled in, then the remedy. */
export function problem(code: ErrorCode, detail: Readonly<Record<string, unknown>> = {}): Problem {
  const { sentence, remedy } = ERRORS[code];
  return { code, message: `${fill(sentence, detail)} ${fill(remedy, detail)}`.trim(), detail };
}

/** The HTTP status a code answers with. */
export function httpStatusOf(code: ErrorCode): number {
  return ERRORS[code].http;
}

/** Details carry strangers' texts; a sentence is one line, and nothing in it that a terminal would obey. */
function printable(text: string): string {
  return text.replace(/[\p{Cc}\u2028-\u202e\u2066-\u2069]/gu, (character) => {
    return `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;
  });
}

function fill(text: string, detail: Readonly<Record<string, unknown>>): string {
  return text.replace(/\{(\w+)\}(\.?)/g, (_, name: string, stop: string) => {
    const value = detail[name];
    if (value === undefined) return `(${name} unknown)${stop}`;
    const shown = printable(typeof value === "string" ? value : JSON.stringify(value));
    // A reason may be a sentence of its own, with its own full stop.
    return shown.length > 300 ? `${shown.slice(0, 300)}…${stop}` : shown.endsWith(".") ? shown : `${shown}${stop}`;
  });
}
