import type { ErrorTable } from "./entry.ts";

/** Errors the command line finds itself, before or instead of an answer of the server. */
export const CLI_ERRORS = {
  SERVER_UNREACHABLE: {
    http: 502,
    sentence: "No answer from {url}: {reason}.",
    remedy: "Check --url (or BELLWETHER_URL) and whether the server runs.",
  },
  ANSWER_UNREADABLE: {
    http: 502,
    sentence: "{url} answered {http} with something that is no answer of a Bellwether server.",
    remedy: "Check that --url names the server itself.",
  },
  ANSWER_BROKEN: {
    http: 502,
    sentence: "The answer of {url} broke off: {reason}. What was printed is not all of it.",
    remedy: "Run the command again; an export goes on with --after and the last row that was read.",
  },
  TOKEN_MISSING: {
    http: 401,
    sentence: "No token was given.",
    remedy: "Set BELLWETHER_TOKEN, or name a file with --token-file; a token is never an argument.",
  },
  INSECURE_URL: {
    http: 400,
    sentence: "{url} would carry the token in clear text to another machine.",
    remedy: "Use https, or allow it with --allow-http.",
  },
  ARGUMENT_INVALID: {
    http: 400,
    sentence: "{name} is wrong: {expected}.",
    remedy: 'See the command with "--help".',
  },
  PACKAGE_FILE_CHANGED: {
    http: 422,
    sentence: "The file {file} has the digest {actual}; its manifest says {expected}.",
    remedy: "Restore the file, or make the package again with `bellwether model init`.",
  },
  NOT_SAID: {
    http: 400,
    sentence: "Nothing says {what}: {hint}.",
    remedy: "Give it with {option}, or run the command on a terminal to be asked.",
  },
  FILE_UNREADABLE: {
    http: 400,
    sentence: "The file {file} cannot be used: {reason}.",
    remedy: "Check its name and its permissions.",
  },
} as const satisfies ErrorTable;
