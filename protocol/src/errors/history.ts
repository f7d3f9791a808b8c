import type { ErrorTable } from "./entry.ts";

/** Errors of history import and training. */
export const HISTORY_ERRORS = {
  HISTORY_FILE_UNKNOWN: {
    http: 404,
    sentence: "No uploaded file has the digest {digest}.",
    remedy: "Upload the file first; files that no history uses are removed after a day.",
  },
  HISTORY_SPACE_EXHAUSTED: {
    http: 507,
    sentence: "The uploaded histories take {actual} bytes, more than the {limit} allowed.",
    remedy: "Remove histories that are no longer needed, or raise the limit in the server's configuration.",
  },
  HISTORY_NOT_TEXT: {
    http: 422,
    sentence: "The file {file} is not a text file ({reason}).",
    remedy: "Send CSV, TSV or C-MAPSS text in UTF-8, not compressed.",
  },
  HISTORY_EMPTY: {
    http: 422,
    sentence: "The file {file} holds {what}.",
    remedy: "Check that the right file was sent.",
  },
  HISTORY_LINE_WRONG: {
    http: 422,
    sentence: "The file {file} is wrong at line {line}: {reason}.",
    remedy: "Correct that line and import again; nothing was kept.",
  },
  HISTORY_COLUMN_MISSING: {
    http: 422,
    sentence: 'The file {file} has no column "{column}"{hint}.',
    remedy: "Name the column as its header does.",
  },
  HISTORY_COLUMN_WRONG: {
    http: 422,
    sentence: 'The column "{column}" of {file} cannot be used: {reason}.',
    remedy: "Rename or leave out the column, or correct the option that names it.",
  },
  HISTORY_UNIT_WRONG: {
    http: 422,
    sentence: 'The column "{column}" of {file} has the unit "{unit}", which is not a known UCUM code{hint}.',
    remedy: "docs/FEATURES.md lists the units; --unit channel=unit overrides what the file says.",
  },
  HISTORY_TIME_ZONE_MISSING: {
    http: 422,
    sentence: 'The time "{time}" at line {line} of {file} has no zone.',
    remedy: "Say in which zone the times were written: --time-zone Europe/Berlin, +02:00 or UTC.",
  },
  HISTORY_TIME_ZONE_UNKNOWN: {
    http: 422,
    sentence: 'There is no time zone "{zone}".',
    remedy: "Use an IANA name (Europe/Berlin), an offset (+02:00) or UTC.",
  },
  HISTORY_TIME_MIXED: {
    http: 422,
    sentence: 'The time "{time}" at line {line} of {file} is {kind}, but earlier ones are {before}.',
    remedy: "Write all times of a file in one form.",
  },
  HISTORY_TIME_WRONG: {
    http: 422,
    sentence: '"{time}" at line {line} of {file} is no time: {reason}.',
    remedy: "Use ISO 8601 (2026-01-31T08:00:00Z), seconds or milliseconds since 1970, or step numbers.",
  },
  HISTORY_FAILURE_UNPLACED: {
    http: 422,
    sentence: "The failure at line {line} of {file} names the asset {asset}, of which there are no samples.",
    remedy: "Check the spelling of the asset; every failure must belong to an asset of the samples.",
  },
  TRAINING_TARGET_MISSING: {
    http: 422,
    sentence: "The history {history} cannot give the target {target}: {reason}.",
    remedy: "Import it again with a failures file, with --run-to-failure, or with --target and a column.",
  },
  TRAINING_CHANNELS_UNUSABLE: {
    http: 422,
    sentence: "No channel of the history {history} can be learnt from: {reason}.",
    remedy: "Import a history whose channels vary.",
  },
  TRAINING_ASSETS_TOO_FEW: {
    http: 422,
    sentence: "The history {history} has {actual} assets with targets; {needed} are needed.",
    remedy: "Whole assets are held out to measure the model, so a history needs several.",
  },
  TRAINING_ASSET_UNKNOWN: {
    http: 422,
    sentence: "The history {history} has no asset {asset}.",
    remedy: "List the history's assets and correct holdoutAssets.",
  },
  TRAINING_QUEUE_FULL: {
    http: 429,
    sentence: "{actual} training runs are waiting already, the most that may.",
    remedy: "Wait until one has ended, or cancel one.",
  },
  TRAINING_FAILED: {
    http: 500,
    sentence: "The training run {run} ended with an error: {reason}.",
    remedy: "Look at the run and at the server's log.",
  },
  TRAINING_INTERRUPTED: {
    http: 409,
    sentence: "The server stopped while the training run {run} was under way.",
    remedy: "Start it again; the same seed gives the same model.",
  },
  TRAINING_NOT_SUCCEEDED: {
    http: 409,
    sentence: "The training run {run} ended {phase}: {reason}.",
    remedy: 'Look at "bellwether training show {run}".',
  },
} as const satisfies ErrorTable;
