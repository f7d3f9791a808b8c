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
    sentence: "The cut-off {at} of the snapshot lies in the future.",
    remedy: "Take a cut-off up to now: a snapshot must be the same when it is made again.",
  },
  PERFORMANCE_TARGET_UNKNOWN: {
    http: 422,
    sentence: "What the model {model} foretells cannot be derived from outcomes: {reason}.",
    remedy: "Outcomes judge remaining life, and failure within a horizon, of models trained here.",
  },
} as const satisfies ErrorTable;
