import type { ErrorTable } from "./entry.ts";

/** Errors of devices, cohorts and ingest. */
export const FLEET_ERRORS = {
  SELECTOR_INVALID: {
    http: 400,
    sentence: 'The selector cannot be read at "{part}": {reason}.',
    remedy: "Write requirements with commas between: site=a,hw in (orin,xavier),!retired,line!=2,rack>3.",
  },
  STORE_IN_USE: {
    http: 503,
    sentence: "Another server runs on {dir}.",
    remedy: "Stop it first, or give this one a folder of its own.",
  },
  STORE_UNUSABLE: {
    http: 503,
    sentence: "The store in {dir} cannot be opened: {reason}.",
    remedy: "Check the folder's rights and space; a damaged file is replaced by a backup.",
  },
  PORT_UNAVAILABLE: {
    http: 503,
    sentence: "Port {port} cannot be listened on: {reason}.",
    remedy: "Choose another port, or 0 for a free one.",
  },
  STORE_NEWER: {
    http: 503,
    sentence: "The store was written by a newer version: its room {room} is at {version}, this program knows {known}.",
    remedy: "Start the newer version, or restore the backup made before the upgrade.",
  },
} as const satisfies ErrorTable;
