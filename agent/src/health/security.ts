import type { Problem } from "@bellwether/protocol/errors.ts";
import type { EventRecord } from "@bellwether/protocol/messages/stream.ts";

/** The same thing about the same model is told once in this time: whoever floods a device must not fill its outbox. */
const EVERY_MS = 600_000;
/** Kinds of things that are remembered; an attacker cannot name more than there are codes and models. */
const TOLD_MAX = 1_024;
const TEXT_CHARACTERS_MAX = 1_000;

/** Says what whoever looks after security wants to know, as durable records that reach the server's audit log. */
export type TellSecurity = (told: Problem, model?: string) => void;

/** Security events of a device; `keep` puts a record into the outbox. */
export function createSecurityEvents(keep: (record: EventRecord) => void, nowMs: () => number): TellSecurity {
  const toldAtMs = new Map<string, number>();
  return ({ code, message }, model) => {
    const key = `${code}/${model ?? ""}`;
    const atMs = nowMs();
    // A clock that jumped backwards must not silence anything.
    const sinceMs = Math.abs(atMs - (toldAtMs.get(key) ?? Number.NEGATIVE_INFINITY));
    if (sinceMs < EVERY_MS || (toldAtMs.size >= TOLD_MAX && !toldAtMs.has(key))) return;
    toldAtMs.set(key, atMs);
    keep({
      atMs,
      kind: "security",
      severity: "warning",
      code,
      text: message.slice(0, TEXT_CHARACTERS_MAX),
      ...(model === undefined ? {} : { model }),
    });
  };
}

/** Whether a failed login or connection tells of somebody else in the server's place, or of a device shut out. */
export function isFailedLogin({ code, detail }: Problem): boolean {
  if (code === "SERVER_REFUSED") return detail["http"] === 401 || detail["http"] === 403;
  if (code === "LINK_LOST") return /not authorized/i.test(String(detail["reason"]));
  return FAILED_LOGINS.has(code);
}

const FAILED_LOGINS: ReadonlySet<string> = new Set([
  "BROKER_NOT_OURS",
  "TLS_CA_UNKNOWN",
  "TLS_NAME_WRONG",
  "TLS_USAGE_WRONG",
  "TLS_EXPIRED",
]);
