import type { ErrorTable } from "./entry.ts";

/** Errors of wire messages, topics and the MQTT link. */
export const LINK_ERRORS = {
  INVALID_TOPIC: {
    http: 400,
    sentence: 'The topic "{topic}" is not one of Bellwether\'s: {reason}.',
    remedy: "docs/TOPICS.md lists every topic.",
  },
  BATCH_UNREADABLE: {
    http: 400,
    sentence: "The {stream} batch cannot be read: {reason}.",
    remedy: "Send UTF-8 JSON, or one zstd frame of it.",
  },
  BATCH_INCONSISTENT: {
    http: 400,
    sentence: "The {stream} batch contradicts itself at {path}: {reason}.",
    remedy: "Every row needs one time, one asset, and one entry per channel that was read.",
  },
} as const satisfies ErrorTable;
