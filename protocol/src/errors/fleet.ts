import type { ErrorTable } from "./entry.ts";

/** Errors of devices, cohorts and ingest. */
export const FLEET_ERRORS = {
  STORE_NEWER: {
    http: 503,
    sentence: "The store was written by a newer version: its room {room} is at {version}, this program knows {known}.",
    remedy: "Start the newer version, or restore the backup made before the upgrade.",
  },
} as const satisfies ErrorTable;
