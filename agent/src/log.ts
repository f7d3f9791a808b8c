export const LOG_LEVELS = ["debug", "info", "warn", "error"] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

/** Writes one JSON object per line: `{"at","level","msg", …fields}`. */
export type Logger = Readonly<Record<LogLevel, (msg: string, fields?: Readonly<Record<string, unknown>>) => void>>;

// A field with such a name never reaches a log, whoever passed it: logs are copied into tickets.
const SECRET = /token|password|secret|private|seed|signature|nonce|authorization/i;
const LINE_CHARACTERS_MAX = 8_192;

export interface LoggerOptions {
  /** Lines below this level are not written. */
  readonly level: LogLevel;
  readonly nowMs: () => number;
  /** Takes a line with its newline. */
  readonly write: (line: string) => void;
  /** Fields of every line. */
  readonly fields?: Readonly<Record<string, unknown>>;
}

/** A logger over `write`. Long lines are cut, secrets hidden, and what cannot be serialised is named, never thrown. */
export function createLogger({ level, nowMs, write, fields: common }: LoggerOptions): Logger {
  const least = LOG_LEVELS.indexOf(level);
  const at =
    (own: LogLevel) =>
    (msg: string, fields: Readonly<Record<string, unknown>> = {}) => {
      if (LOG_LEVELS.indexOf(own) < least) return;
      const head = { at: new Date(nowMs()).toISOString(), level: own, msg };
      write(`${line({ ...head, ...common, ...fields })}\n`);
    };
  return { debug: at("debug"), info: at("info"), warn: at("warn"), error: at("error") };
}

function line(entry: Record<string, unknown>): string {
  let text: string;
  try {
    text = JSON.stringify(entry, (key, value) => {
      if (SECRET.test(key)) return "[hidden]";
      if (value instanceof Error) return { name: value.name, message: value.message, stack: value.stack };
      return typeof value === "bigint" ? String(value) : value;
    });
  } catch {
    text = JSON.stringify({ at: entry["at"], level: entry["level"], msg: entry["msg"], unserialisable: true });
  }
  if (text.length <= LINE_CHARACTERS_MAX) return text;
  const { at, level, msg } = entry;
  return JSON.stringify({
    at,
    level,
    msg: String(msg).slice(0, 1_000),
    cut: text.slice(0, LINE_CHARACTERS_MAX - 2_000),
  });
}
