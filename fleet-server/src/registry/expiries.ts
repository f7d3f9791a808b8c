const DAY_MS = 86_400_000;

/** Days before an expiry at which somebody should be told, for what lasts long enough. */
export const ALARM_DAYS = [30, 14, 3] as const;

/** Something that is signed for a time, and must be signed again before that ends. */
export interface Signed {
  /** "root", "targets", "snapshot", "timestamp", "director", a retraining role's name; "tls" or "tls-ca": certificates. */
  readonly role: string;
  readonly version: number;
  readonly expiresAtMs: number;
  /** How long it was signed for. */
  readonly lifeMs: number;
  /** Who signs it again: the owners of the offline keys, or the server by itself. */
  readonly renewedBy: "owners" | "server";
}

/** How near an expiry is. */
export interface Expiry extends Signed {
  readonly daysLeft: number;
  /** The alarm it has reached: within that many days, or over; null where there is time. */
  readonly alarm: "expired" | number | null;
}

/**
 * Judges an expiry. What the server renews by itself lives for days only, and would stand in alarm from its first hour:
 * such a role calls when it is nearer to its end than its renewal ever lets it come.
 */
export function judgeExpiry(signed: Signed, nowMs: number): Expiry {
  const leftMs = signed.expiresAtMs - nowMs;
  const daysLeft = Math.floor((leftMs / DAY_MS) * 100) / 100;
  return { ...signed, daysLeft, alarm: leftMs <= 0 ? "expired" : (levelOf(signed.lifeMs, leftMs) ?? null) };
}

function levelOf(lifeMs: number, leftMs: number): number | undefined {
  const long = ALARM_DAYS.filter((days) => days * DAY_MS < lifeMs / 2);
  const levels = long.length > 0 ? long : [lifeMs / 4 / DAY_MS];
  return levels.findLast((days) => leftMs <= days * DAY_MS);
}

/** What an alarm says in the log; undefined where there is none. */
export function alarmSentence({ role, alarm, daysLeft, renewedBy, expiresAtMs }: Expiry): string | undefined {
  if (alarm === null) return undefined;
  const when = new Date(expiresAtMs).toISOString();
  if (role.startsWith("tls")) {
    const what = role === "tls" ? "the server's TLS certificate" : "the CA of the server's TLS certificate";
    if (alarm === "expired") return `${what} expired at ${when}: whoever knows the time speaks to this server no more`;
    return `${what} expires in ${daysLeft} days, at ${when}; renew its files in time`;
  }
  const over = `the ${role} metadata expired at ${when}: devices install nothing until they are signed again`;
  const soon = `the ${role} metadata expire in ${daysLeft} days, at ${when}`;
  const who =
    renewedBy === "owners"
      ? "the owners of the offline keys must sign them again"
      : "the server should have renewed them";
  return `${alarm === "expired" ? over : soon}; ${who}`;
}
