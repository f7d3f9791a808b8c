import type { ErrorTable } from "./entry.ts";

/** Errors of the agent's inputs, inference, update and buffer. */
export const AGENT_ERRORS = {
  SLOT_UNREADABLE: {
    http: 500,
    sentence: "The model slot {slot} cannot be opened: {file}: {reason}.",
    remedy: "The agent goes on with the verified version before it; check the device's disk.",
  },
  SLOT_CHANGED: {
    http: 500,
    sentence: "{file} in the model slot {slot} has digest {actual}, its manifest says {expected}.",
    remedy: "The file was changed or damaged after it was verified; it is not run. Check the device's disk.",
  },
  MODEL_NOT_LOADABLE: {
    http: 422,
    sentence: "ONNX Runtime cannot load {model} version {version}: {reason}.",
    remedy: "Correct the model; `bellwether model check` runs the device's own path.",
  },
  MODEL_INPUT_UNBOUND: {
    http: 422,
    sentence: "{model} version {version} has a graph {side} {name} that {problem}.",
    remedy: "Bind every graph input, and only outputs that exist, in the manifest.",
  },
  INFERENCE_FAILED: {
    http: 500,
    sentence: "The session of {model} failed: {reason}.",
    remedy: "Check that the model accepts vectors like this one.",
  },
  OUTPUT_NOT_FINITE: {
    http: 500,
    sentence: "The output {output} of {model} is not a finite number.",
    remedy: "Check the model's inputs; a missing value may have reached an operator that cannot take it.",
  },
  OUTPUT_OUT_OF_RANGE: {
    http: 500,
    sentence: "The output {output} of {model} is {value}, outside {low} to {high}.",
    remedy: "The prediction is counted as an inference error.",
  },
  INFERENCE_HUNG: {
    http: 500,
    sentence: "{model} version {version} did not come back from native code for {ms} ms (limit {limitMs} ms).",
    remedy: "The agent restarted itself, quarantined that version and runs the verified one before it.",
  },
  PIPELINE_STALLED: {
    http: 500,
    sentence: "The pipeline thread did nothing for {ms} ms.",
    remedy: "The agent restarted itself; look for a slow disk or an input that blocks.",
  },
  CANDIDATE_LOST: {
    http: 500,
    sentence: "The candidate model could not be tried: {reason}.",
    remedy: "The version before it goes on serving.",
  },
  PIPELINE_ENDED: {
    http: 500,
    sentence: "The pipeline thread ended: {reason}.",
    remedy: "The agent stops, so that its service starts it again; report the log.",
  },
  STATE_DIRECTORY_IN_USE: {
    http: 409,
    sentence: "Another agent already runs on the state directory {stateDir}.",
    remedy: "Stop it first, or give this agent a state directory of its own.",
  },
  STATE_DIRECTORY_UNUSABLE: {
    http: 500,
    sentence: "The state directory {stateDir} cannot be used: {reason}.",
    remedy: "Check that it exists, has free space, and belongs to the user the agent runs as.",
  },
  TOKEN_UNREADABLE: {
    http: 400,
    sentence: "The file {file} holds no enrolment token.",
    remedy: "Write the token, and nothing else, into it.",
  },
  AGENT_NOT_ENROLLED: {
    http: 409,
    sentence: "The state directory {stateDir} holds no enrolment.",
    remedy: "Run `bellwether-agent enroll` with it first.",
  },
  AGENT_NOT_RUNNING: {
    http: 404,
    sentence: "No agent answers on the state directory {stateDir}.",
    remedy: "Start it with `bellwether-agent run`.",
  },
  OUTBOX_IN_USE: {
    http: 409,
    sentence: "The outbox {file} is in use by another process.",
    remedy: "Only one agent may run on a state directory; stop the other one.",
  },
  OUTBOX_FORMAT: {
    http: 409,
    sentence: "The outbox {file} has format {actual}, and this agent knows {expected}.",
    remedy: "Run the agent version that wrote it, or one newer than it.",
  },
  OUTBOX_CORRUPT: {
    http: 500,
    sentence:
      "The outbox file was corrupt ({reason}); a new one was begun under a new epoch, with {records} records saved.",
    remedy: "Check the device's disk; records that could not be saved are lost.",
  },
  OUTBOX_DISK_FULL: {
    http: 507,
    sentence: "The disk under the outbox is full; records wait in memory, and the oldest give way.",
    remedy: "Free space on the device, or lower buffer.maxBytes.",
  },
  OUTBOX_DISK_FAILED: {
    http: 500,
    sentence: "The outbox cannot be written or read: {reason}.",
    remedy: "Check the device's disk; the agent goes on in memory and tries again.",
  },
  OUTBOX_SHEDDING: {
    http: 507,
    sentence:
      "The outbox is over its budget of {bytesMax} bytes: {records} of the oldest, least important records gave way.",
    remedy: "Restore the connection, or raise buffer.maxBytes.",
  },
  RECORD_REFUSED: {
    http: 400,
    sentence: "A record of the {stream} stream was refused: at {path}, {expected}.",
    remedy: "It was counted and not sent.",
  },
} as const satisfies ErrorTable;
