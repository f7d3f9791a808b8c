import type { ErrorTable } from "./entry.ts";

/** Errors of the agent's inputs, inference, update and buffer. */
export const AGENT_ERRORS = {
  DIGEST_MISMATCH: {
    http: 422,
    sentence: "{what} has the digest {actual}, not {expected} as it was signed.",
    remedy:
      "Somebody or something changed it: check the server's disk and the network between. It was not installed; once it is mended, retry the rollout.",
  },
  DOWNLOAD_FAILED: {
    http: 502,
    sentence: "{what} could not be downloaded: {reason}.",
    remedy: "The device tries again by itself; check the link if it stays so.",
  },
  DOWNLOAD_TOO_LONG: {
    http: 422,
    sentence: "{what} is longer than the {limit} bytes that were signed.",
    remedy: "Somebody else answers in the server's name, or its disk was changed. It was not installed.",
  },
  DISK_TOO_FULL: {
    http: 507,
    sentence: "The device has {free} bytes free; the model needs {needed}.",
    remedy: "Free space on the device.",
  },
  UPDATE_DISK_FAILED: {
    http: 507,
    sentence: "The device's disk refused what an update needs to keep: {reason}.",
    remedy: "Free space, or look after the disk. The model that runs goes on, and the update goes on by itself.",
  },
  METADATA_REFUSED: {
    http: 422,
    sentence: "The release repository's metadata was refused: {reason}.",
    remedy: "Check the clocks and the repository's signatures; models that run go on running.",
  },
  METADATA_UNREACHABLE: {
    http: 502,
    sentence: "The release repository's metadata could not be fetched: {reason}.",
    remedy: "The device tries again by itself; check the link if it stays so.",
  },
  METADATA_MISSING: {
    http: 422,
    sentence: "The release repository lacks metadata: {reason}.",
    remedy: "Look at the repository on the server; models that run go on running.",
  },
  METADATA_NOT_SIGNED: {
    http: 422,
    sentence: "Too few of the right keys signed the release repository's metadata: {reason}.",
    remedy:
      "Sign with the keys the root names. If nobody here changed anything, somebody else did: look at the server.",
  },
  METADATA_KEY_COUNTED_TWICE: {
    http: 422,
    sentence: "One key would count twice in the release repository's metadata: {reason}.",
    remedy: "Give each key one name and one signature; a threshold counts keys.",
  },
  METADATA_EXPIRED: {
    http: 422,
    sentence: "The release repository's metadata are out of date: {reason}.",
    remedy: "Sign them anew, or check the device's clock; models that run go on running.",
  },
  METADATA_ROLLBACK: {
    http: 422,
    sentence: "The release repository's metadata are older than what this device has seen: {reason}.",
    remedy: "Restore the newest metadata on the server, or look at who answers in its name.",
  },
  METADATA_ROOT_SKIPPED: {
    http: 422,
    sentence: "The release repository's root does not follow the one this device has: {reason}.",
    remedy: "Serve every root in its order; each must be signed by the one before.",
  },
  METADATA_MIXED: {
    http: 422,
    sentence: "The release repository's files do not belong together: {reason}.",
    remedy: "Publish snapshot and timestamp anew over the files as they are.",
  },
  METADATA_TOO_LONG: {
    http: 422,
    sentence: "The release repository's metadata are too long: {reason}.",
    remedy: "Look at what the server serves; a device reads no more than its cap.",
  },
  METADATA_UNREADABLE: {
    http: 422,
    sentence: "The release repository's metadata cannot be read: {reason}.",
    remedy: "Look at what the server serves; models that run go on running.",
  },
  NOT_IN_TARGETS: {
    http: 422,
    sentence:
      "The director asks for version {version} of {model}, which the release repository does not name with this {member}.",
    remedy: "Only what the owners released is installed: release the version, or look at who speaks for the director.",
  },
  SELF_TEST_STARVED: {
    http: 503,
    sentence: "The self-test got {cpuMs} ms of a processor in {wallMs} ms and did not come to its end.",
    remedy: "The machine is too busy to try a model; it is tried again by itself, three times in all.",
  },
  CLOCK_JUMPED: {
    http: 409,
    sentence: "The device's clock went from {from} to {to} while {ranMs} ms passed.",
    remedy: "Look at the device's time service. Expiry is judged by what was signed, whatever the clock says.",
  },
  SELF_TEST_FAILED: {
    http: 422,
    sentence: "The self-test ended without a verdict: {reason}.",
    remedy: "Look at the model's size and load time against its manifest's limits.",
  },
  UPDATE_SUPERSEDED: {
    http: 409,
    sentence: "A newer wish came before this model was confirmed.",
    remedy: "Nothing needs to be done: the device takes up the newer one.",
  },
  CONFIRM_INTERRUPTED: {
    http: 500,
    sentence: "The agent was restarted {times} times while the new model was being confirmed.",
    remedy: "Look in the device's log for what ended it; the model may be what takes it down.",
  },
  INFERENCE_ERRORS: {
    http: 422,
    sentence: "{errors} of {total} live inferences failed, more than the share of {allowed} that is allowed.",
    remedy: "Look at the errors of the device's predictions, and at the input it had.",
  },
  SHADOW_ERRORS: {
    http: 422,
    sentence: "As a shadow the new model failed on {errors} of {total} vectors, more than the share of {allowed}.",
    remedy: "Look at `shadow` in the device's predictions: the error of each vector stands there.",
  },
  SHADOW_TOO_SLOW: {
    http: 422,
    sentence:
      "As a shadow the new model's 99th percentile of the latency was {p99Us} us; the manifest allows {limitUs} us.",
    remedy: "Use a smaller model on this class of device, or state a limit it can meet.",
  },
  SHADOW_INTERRUPTED: {
    http: 500,
    sentence: "The agent was restarted {times} times while the new model ran as a shadow.",
    remedy: "Look in the device's log for what ended it; the model may be what takes it down.",
  },
  SHADOW_DEADLINE: {
    http: 422,
    sentence: "As a shadow the new model made {inferences} of {needed} inferences within {deadlineMs} ms.",
    remedy: "See why the device has so little input for this model, or ask for fewer inferences.",
  },
  SELF_TEST_TOO_SLOW: {
    http: 422,
    sentence:
      "Half of the runs of the self-test took {medianUs} us or more; the manifest allows {limitUs} us for 99 of 100.",
    remedy: "Use a smaller model on this class of device, or state a limit it can meet.",
  },
  LATENCY_EXCEEDED: {
    http: 422,
    sentence: "The 99th percentile of the latency was {p99Us} us, more than the {limitUs} us of the manifest.",
    remedy: "Use a smaller model on this class of device, or state a limit it can meet.",
  },
  NO_LIVE_INFERENCES: {
    http: 422,
    sentence: "The new model made no live inference within {deadlineMs} ms, so nothing was proven.",
    remedy: "See why the device has no input for this model, then try again.",
  },
  CONFIRM_DEADLINE: {
    http: 422,
    sentence: "The new model made {inferences} of {needed} live inferences within {deadlineMs} ms.",
    remedy: "Allow more time or ask for fewer inferences, or see why the input is slow.",
  },
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
    http: 422,
    sentence: "The output {output} of {model} is not a finite number.",
    remedy: "Check the model's inputs; a missing value may have reached an operator that cannot take it.",
  },
  OUTPUT_OUT_OF_RANGE: {
    http: 422,
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
  MODEL_WRONG_ARCHITECTURE: {
    http: 409,
    sentence: "{model} version {version} is for {expected}, this device is {actual}.",
    remedy: "Release a version for this architecture: quantised kernels differ between them.",
  },
  MODEL_NEEDS_MEMORY: {
    http: 409,
    sentence: "{model} version {version} needs {expected} MB of memory, this device has {actual}.",
    remedy: "Choose devices with more memory, or a smaller model.",
  },
  MODEL_NEEDS_AGENT: {
    http: 409,
    sentence: "{model} version {version} needs agent {expected}, this device runs {actual}.",
    remedy: "Update the agent first.",
  },
  MODEL_FITS_NO_ASSET: {
    http: 409,
    sentence: "{model} version {version} fits no asset of this device: {reason}.",
    remedy: "Bind the model's channels in the agent's configuration, or choose devices that have them.",
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
  FIRST_BOOT_SERIAL: {
    http: 500,
    sentence: "No serial number of this machine was found in {files}.",
    remedy: "Name a file that holds one under enrol.serialFile.",
  },
  FIRST_BOOT_NAME: {
    http: 500,
    sentence: 'The serial number {serial} makes no device name: "{name}".',
    remedy: "Change enrol.device so that a name comes out: 1 to 64 letters, digits, dots, hyphens and underscores.",
  },
  AGENT_NOT_ENROLLED: {
    http: 409,
    sentence: "The state directory {stateDir} holds no enrolment.",
    remedy: "Run `bellwether-agent enroll` with it first.",
  },
  BUNDLE_UNREADABLE: {
    http: 422,
    sentence: "The folder {folder} is no bundle that {device} can take: {reason}.",
    remedy: "Export it for this device, and lay it where the agent's user may read: not below /tmp, /home or /root.",
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
  WRITE_BUDGET_SPENT: {
    http: 507,
    sentence:
      "The agent has its disk write more than {bytesPerDay} bytes a day: to spare the flash, rows wait up to {seconds} s for their commit.",
    remedy:
      "Nothing is lost. Read fewer rows, raise buffer.commitMs, or raise buffer.writeBytesPerDay to what the flash bears.",
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
