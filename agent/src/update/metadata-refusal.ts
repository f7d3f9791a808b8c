import { type ErrorCode, type Problem, problem } from "@bellwether/protocol/errors.ts";

/** Why metadata was not taken, and whether asking again may help without anybody doing anything. */
export interface MetadataRefusal {
  readonly problem: Problem;
  readonly again: boolean;
}

// A redirect is what a portal answers that wants a password first.
const NETWORK = /ECONN|ENOTFOUND|EAI_AGAIN|ETIMEDOUT|timeout|fetch failed|redirect|UND_ERR|aborted|answered 50[234]/i;

const DISK = /ENOSPC|EDQUOT|EIO|EROFS|EMFILE|ENFILE/;

/** What tuf-js 6 and the wrapper around it say, by what it means; the first that fits counts. */
const KINDS: readonly (readonly [said: RegExp, code: ErrorCode])[] = [
  [DISK, "UPDATE_DISK_FAILED"],
  [NETWORK, "METADATA_UNREACHABLE"],
  [/has two names|multiple signatures|duplicate key IDs/i, "METADATA_KEY_COUNTED_TWICE"],
  [/was signed by \d+\/\d+ keys|UnsignedMetadataError/, "METADATA_NOT_SIGNED"],
  [/is expired/, "METADATA_EXPIRED"],
  [/is less than current version/, "METADATA_ROLLBACK"],
  [/Expected version \d+, got \d+/, "METADATA_ROOT_SKIPPED"],
  [/longer than \d+ bytes/, "METADATA_TOO_LONG"],
  [/match (snapshot version|timestamp)|Missing \S+ in|Missing file|Expected (hash|length)/, "METADATA_MIXED"],
  [/the server answered 404/, "METADATA_MISSING"],
  [/SyntaxError|TypeError|ValueError|RepositoryError/, "METADATA_UNREADABLE"],
];

/** The refusal behind an error of tuf-js, `reason` being its name and message. */
export function metadataRefusal(reason: string): MetadataRefusal {
  const [, code = "METADATA_REFUSED"] = KINDS.find(([said]) => said.test(reason)) ?? [];
  return {
    problem: problem(code, { reason }),
    again: code === "METADATA_UNREACHABLE" || code === "UPDATE_DISK_FAILED",
  };
}
