import type { ErrorTable } from "./entry.ts";

/** Errors of feature definitions, windows and units. */
export const FEATURE_ERRORS = {
  FEATURE_FUNCTION_UNKNOWN: {
    http: 422,
    sentence: 'The feature {feature} asks for the function "{function}", which does not exist{hint}.',
    remedy: "docs/FEATURES.md lists the functions.",
  },
  FEATURE_CHANNEL_UNKNOWN: {
    http: 422,
    sentence: "The feature {feature} reads the channel {channel}, which the manifest does not name.",
    remedy: "Name the channel under channels, or correct the feature.",
  },
  FEATURE_CHANNEL_MISSING: {
    http: 422,
    sentence: "The feature {feature} needs a channel: {function} is computed over one.",
    remedy: "Give the feature a channel.",
  },
  FEATURE_PARAMETER_WRONG: {
    http: 422,
    sentence: "The feature {feature} has a wrong parameter {parameter}: {expected}.",
    remedy: "docs/FEATURES.md lists the parameters of each function.",
  },
  FEATURE_NAME_TWICE: {
    http: 422,
    sentence: "Two features are named {feature}.",
    remedy: "Give each feature its own name.",
  },
  FEATURE_BASELINE_MISSING: {
    http: 422,
    sentence: "The feature {feature} is relative to the asset's baseline, but the manifest has no baseline.",
    remedy: "Add baseline.vectors to the manifest.",
  },
  WINDOW_WRONG: {
    http: 422,
    sentence: "The window cannot be used: {reason}.",
    remedy: "Correct the window of the manifest.",
  },
  FEATURE_STATE_WRONG: {
    http: 422,
    sentence: "The saved window of an asset does not fit the model: {reason}.",
    remedy: "It is dropped, and the window fills again.",
  },
  UNIT_UNKNOWN: {
    http: 422,
    sentence: 'The unit "{unit}" is not a known UCUM code{hint}.',
    remedy: "docs/FEATURES.md lists the units.",
  },
  UNIT_MISMATCH: {
    http: 422,
    sentence: "A value in {from} cannot be converted to {to}: they measure different things.",
    remedy: "Correct the unit of one side.",
  },
} as const satisfies ErrorTable;
