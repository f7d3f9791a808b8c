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
  BACKUP_NOT_A_SERVER: {
    http: 400,
    sentence: "There is no fleet server's store in {dir}.",
    remedy: "Name the data directory that `bellwether up --dir` names.",
  },
  BACKUP_NOT_EMPTY: {
    http: 409,
    sentence: "{dir} holds something already.",
    remedy: "Name a folder that is not there yet: a backup is never written over another.",
  },
  BACKUP_INCOMPLETE: {
    http: 422,
    sentence: "{dir} is no whole backup: it has no index.",
    remedy: "Take another one; this one was interrupted, or is no backup.",
  },
  BACKUP_DAMAGED: {
    http: 422,
    sentence: "The file {path} of the backup is damaged: {reason}.",
    remedy: "Restore an older backup.",
  },
  RESTORE_NOT_EMPTY: {
    http: 409,
    sentence: "{dir} holds something already; a restore writes over nothing.",
    remedy: "Move it away, and keep it: it may hold what the backup lacks.",
  },
  NOT_RESTORED: {
    http: 404,
    sentence: "This server was not brought back from a backup, so there is nothing that a restore lost.",
    remedy: "`bellwether restore` brings one back; until then there is nothing to list.",
  },
  STORE_NEWER: {
    http: 503,
    sentence: "The store was written by a newer version: its room {room} is at {version}, this program knows {known}.",
    remedy: "Start the newer version, or restore the backup made before the upgrade.",
  },
  DEAD_LETTER_NOT_REPLAYABLE: {
    http: 409,
    sentence: "Dead letter {id} cannot be taken: {reason}.",
    remedy: "Show it to see its bytes. A message that is not understood yet may be by a newer server.",
  },
} as const satisfies ErrorTable;
