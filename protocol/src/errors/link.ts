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
  LINK_LOST: {
    http: 503,
    sentence: "There is no connection to {url}: {reason}.",
    remedy: "It is tried again by itself; check the network and whether the device is still enrolled.",
  },
  LINK_MESSAGE: {
    http: 400,
    sentence: "A message of the link was dropped: {reason}.",
    remedy: "Compare the versions of agent and server; `config check` refuses what fits no packet.",
  },
  SERVER_UNREACHABLE: {
    http: 503,
    sentence: "The server does not answer at {url}: {reason}.",
    remedy: "Check the address, the network and whether the server runs.",
  },
  SERVER_REFUSED: {
    http: 403,
    sentence: "The server answered {http} ({code}) at {url}: {reason}.",
    remedy: "docs/ERRORS.md explains the code.",
  },
  BROKER_NOT_OURS: {
    http: 403,
    sentence: "The server calls itself {actual}; this device was enrolled with {expected}.",
    remedy: "Check the address; if the server was set up anew, enrol the device again in a new state directory.",
  },
  DEVICE_ENROLLED_ALREADY: {
    http: 409,
    sentence: "The state directory {stateDir} holds an enrolment.",
    remedy: "Use another state directory for another device.",
  },
  DEVICE_KEY_UNUSABLE: {
    http: 500,
    sentence: "The device's key in {stateDir} is damaged, or is not the one that was enrolled.",
    remedy: "Enrol the device again in a new state directory.",
  },
} as const satisfies ErrorTable;
