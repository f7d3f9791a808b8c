import type { ErrorTable } from "./entry.ts";

/** Errors of the agent's inputs. */
export const INPUT_ERRORS = {
  INPUT_FILE_UNREADABLE: {
    http: 422,
    sentence: "The input {input} cannot read {file}: {reason}.",
    remedy: "Check the path and its permissions.",
  },
  INPUT_FILE_WRONG: {
    http: 422,
    sentence: "The input {input} cannot go on with {file} after line {line}: {reason}.",
    remedy: "Correct the file; the input goes on from there at the next start.",
  },
  INPUT_ROW_WRONG: {
    http: 422,
    sentence: "The input {input} left out line {line} of {file}: {reason}.",
    remedy: "Correct the line; the others were taken.",
  },
  INPUT_VALUE_WRONG: {
    http: 422,
    sentence: "The input {input} has no value for {channel} in line {line} of {file}: {reason}.",
    remedy: "The sample is kept as bad.",
  },
  INPUT_COLUMN_MISSING: {
    http: 422,
    sentence: "The input {input} needs the column {column}, which {file} does not have{hint}.",
    remedy: "Correct the column's name in the configuration.",
  },
  INPUT_COLUMN_TWICE: {
    http: 422,
    sentence: "The input {input} needs the column {column}, which {file} has more than once.",
    remedy: "Give each column of the file a header of its own.",
  },
  INPUT_FILE_CHANGED: {
    http: 422,
    sentence: "The input {input} was part way through another {file}.",
    remedy: "It starts this one from its beginning.",
  },
  INPUT_PAYLOAD_WRONG: {
    http: 422,
    sentence: "The input {input} cannot read {channel} from {topic}: {reason}.",
    remedy: "The sample is kept as bad.",
  },
  INPUT_DISCONNECTED: {
    http: 503,
    sentence: "The input {input} has no connection to {url}: {reason}.",
    remedy: "It connects by itself once that is possible.",
  },
  INPUT_PACKET_REFUSED: {
    http: 422,
    sentence: "The input {input} ended its connection to {url}: {reason}.",
    remedy:
      "Take that message off the input's topics (it may be retained); a broker that speaks MQTT 5 keeps it to itself. The input tries again, ever more rarely.",
  },
  OUTPUT_DISCONNECTED: {
    http: 503,
    sentence: "The output lost its connection to {url}.",
    remedy: "It connects again by itself; what happened meanwhile is not sent there again.",
  },
  OUTPUT_FILE_UNREADABLE: {
    http: 422,
    sentence: "The password of the output to {url} cannot be read from {file}: {reason}.",
    remedy: "Check the path and its rights, and start the agent again.",
  },
  INPUT_OVERFLOW: {
    http: 503,
    sentence: "The input {input} gets rows faster than they can be taken: {dropped} were dropped.",
    remedy: "Send less often, or to another device.",
  },
  INPUT_STOPPED: {
    http: 500,
    sentence: "The input {input} stopped: {reason}.",
    remedy: "It starts again with the agent.",
  },
} as const satisfies ErrorTable;
