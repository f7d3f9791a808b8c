import type { ErrorTable } from "./entry.ts";

/** Errors of configuration files. Each names file, line and key. */
export const CONFIG_ERRORS = {
  CONFIG_UNREADABLE: {
    http: 400,
    sentence: "The configuration {file} cannot be read: {reason}.",
    remedy: "Check the path and its permissions.",
  },
  CONFIG_YAML: {
    http: 400,
    sentence: "{file}:{line}: this is not YAML: {reason}.",
    remedy: "Correct that line.",
  },
  CONFIG_WRONG: {
    http: 400,
    sentence: "{file}:{line}: {key} must be {expected}, found {found}.",
    remedy: "Correct that value.",
  },
  CONFIG_MISSING: {
    http: 400,
    sentence: "{file}:{line}: {key} is missing: {expected}.",
    remedy: "Add it.",
  },
  CONFIG_KEY_UNKNOWN: {
    http: 400,
    sentence: "{file}:{line}: {key} is not a known key{hint}.",
    remedy: "Known here: {expected}.",
  },
  CONFIG_TWICE: {
    http: 400,
    sentence: "{file}:{line}: {key}: {found} is used twice, it must be {expected}.",
    remedy: "Give each its own.",
  },
  CONFIG_REFERENCE: {
    http: 400,
    sentence: "{file}:{line}: {key} names {found}, which does not exist{hint}.",
    remedy: "Expected {expected}.",
  },
  CONFIG_TOO_LARGE: {
    http: 400,
    sentence: "{file}:{line}: {key} cannot be sent: {found}, it must be {expected}.",
    remedy: "Spread the channels over more assets.",
  },
} as const satisfies ErrorTable;
