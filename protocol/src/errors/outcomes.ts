import type { ErrorTable } from "./entry.ts";

/** Errors of outcomes, labels and what is made of them. */
export const OUTCOME_ERRORS = {
  OUTCOME_ASSET_UNKNOWN: {
    http: 422,
    sentence: "No device ever sent anything of the asset {asset} (item {item}).",
    remedy: "Check the name, and the site where one was given; nothing of the list was kept.",
  },
  OUTCOME_SITE_MISSING: {
    http: 422,
    sentence: "The asset {asset} is at several sites: {sites} (item {item}).",
    remedy: "Name its site; nothing of the list was kept.",
  },
  OUTCOME_IN_FUTURE: {
    http: 422,
    sentence: "The outcome of {asset} at {at} lies in the future (item {item}).",
    remedy: "Say what was found, when it was found; nothing of the list was kept.",
  },
  OUTCOME_LINE_WRONG: {
    http: 422,
    sentence: "Line {line} of the outcomes file is wrong: {reason}.",
    remedy: "Correct that line and import again; nothing was kept.",
  },
  SNAPSHOT_NO_LABELS: {
    http: 422,
    sentence: "No asset of the cohort {cohort} has a failure up to {at} that was known then.",
    remedy: "Record what maintenance found (bellwether outcomes add), or take a later cut-off.",
  },
  SNAPSHOT_NO_ROWS: {
    http: 422,
    sentence: "No device of the cohort {cohort} has committed rows of these channels up to {at}.",
    remedy: "Check the cohort's selector, the cut-off, and the channels of the model.",
  },
  SNAPSHOT_IN_FUTURE: {
    http: 422,
    sentence: "The {what} {at} of the snapshot lies in the future.",
    remedy: "Take a time up to now: a snapshot must be the same when it is made again.",
  },
  PERFORMANCE_TARGET_UNKNOWN: {
    http: 422,
    sentence: "What the model {model} foretells cannot be derived from outcomes: {reason}.",
    remedy: "Outcomes judge remaining life, and failure within a horizon, of models trained here.",
  },
  RETRAINING_CHAMPION_DIFFERS: {
    http: 409,
    sentence: "The champion could not be grown again from its history, bit by bit (retraining {run}).",
    remedy: "Only models trained by this server can be retrained by it; train a first version from a history.",
  },
  RETRAINING_CHAMPION_UNKNOWN: {
    http: 409,
    sentence: "No device of the cohort {cohort} says that it runs {model}.",
    remedy: "Roll a first version out to the cohort; a retraining is measured against what runs there.",
  },
  RETRAINING_NOT_ROLLED_OUT: {
    http: 409,
    sentence: "The rollout {rollout} of the retrained version ended as {phase}.",
    remedy: "Look at the rollout's gates: the devices run what they ran before.",
  },
  RETRAINING_ASSETS_TOO_FEW: {
    http: 422,
    sentence: "Only {actual} assets have labels since the change, {needed} are needed.",
    remedy: "Record more outcomes, hold out fewer assets, or wait.",
  },
} as const satisfies ErrorTable;
