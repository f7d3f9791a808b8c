import { readFile, stat } from "node:fs/promises";
import type { Readable, Writable } from "node:stream";
import { findCa } from "@bellwether/protocol/tls/pin.io.ts";
import { type Command, InvalidArgumentError } from "commander";
import { type Client, createClient } from "./client.io.ts";
import { CliFailure, failure, must } from "./failure.ts";
import { type Column, type Format, formatRecord, formatRows } from "./print.ts";

/** What surrounds a command; tests give their own. */
export interface CliWorld {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly stdin: Readable;
  readonly stdout: Writable;
  readonly stderr: Writable;
  /** Whether standard output is a terminal: live views repaint only there. */
  readonly interactive: boolean;
  /** Width of the terminal: a longer line would take two, and a repaint count them wrong. */
  columns(): number;
  nowMs(): number;
  /** Asks the person at the terminal for a secret that is not shown; undefined where nobody is there. */
  readonly askSecret?: (question: string) => Promise<string>;
  /** Aborted by Ctrl-C: a command that waits stops waiting. */
  readonly signal: AbortSignal;
}

/** What commands work with: the client, and printing as the user asked for. */
export interface CliContext {
  readonly world: CliWorld;
  /** The format chosen with -o. */
  format(): Format;
  /** The REST client, with the token from BELLWETHER_TOKEN or --token-file. */
  client(): Promise<Client>;
  /** The file that holds the token, where one is named. */
  tokenFile(): string | undefined;
  /** Prints rows: whole ones in JSON and YAML, the columns in a table. */
  print<T>(rows: readonly T[], columns: readonly Column<T>[]): void;
  /** Prints one record. */
  show<T>(record: T, columns: readonly Column<T>[]): void;
  /** Writes raw output, waiting where the reader is slow. */
  write(chunk: string | Uint8Array): Promise<void>;
  /** Says a sentence to the person at the terminal (standard error), never mixed with output. */
  say(sentence: string): void;
}

interface GlobalOptions {
  readonly output: Format;
  readonly url?: string;
  readonly tokenFile?: string;
  readonly ca?: string;
  readonly allowHttp?: boolean;
}

const URL_DEFAULT = "http://127.0.0.1:8443";

/** The context of a program, whose global options are read when a command runs. */
export function createContext(program: Command, world: CliWorld): CliContext {
  const options = () => program.opts<GlobalOptions>();
  const tokenFile = () => options().tokenFile ?? world.env["BELLWETHER_TOKEN_FILE"];
  const say = (sentence: string) => void world.stderr.write(`${sentence}\n`);
  return {
    world,
    format: () => options().output,
    async client() {
      const { url = world.env["BELLWETHER_URL"] ?? URL_DEFAULT, allowHttp } = options();
      checkUrl(url, allowHttp ?? false);
      const ca = options().ca ?? world.env["BELLWETHER_CA"];
      const token = await findToken(world, tokenFile());
      const transport = ca === undefined || !url.startsWith("https:") ? {} : { ca: must(await findCa(ca, url)) };
      return createClient(url, token, world.signal, say, transport);
    },
    tokenFile,
    print: (rows, columns) => void world.stdout.write(formatRows(options().output, rows, columns)),
    show: (record, columns) => void world.stdout.write(formatRecord(options().output, record, columns)),
    write: (chunk) =>
      new Promise((resolve) => {
        if (world.stdout.write(chunk)) resolve();
        else world.stdout.once("drain", resolve);
      }),
    say,
  };
}

function checkUrl(text: string, allowHttp: boolean): void {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (!url || (url.protocol !== "http:" && url.protocol !== "https:"))
    throw failure("ARGUMENT_INVALID", { name: "--url", expected: "must be a http or https URL" });
  const loopback = /^(localhost|127(\.\d+){3}|\[::1\])$/.test(url.hostname);
  if (url.protocol === "http:" && !loopback && !allowHttp) throw failure("INSECURE_URL", { url: text });
}

async function findToken(world: CliWorld, file: string | undefined): Promise<string> {
  const token = file === undefined ? world.env["BELLWETHER_TOKEN"] : await readSecret(file, world);
  if (token === undefined || token.trim() === "") throw failure("TOKEN_MISSING");
  return token.trim();
}

async function readSecret(file: string, world: CliWorld): Promise<string> {
  const { mode } = await stat(file).catch((cause: NodeJS.ErrnoException) => {
    throw failure("FILE_UNREADABLE", { file, reason: cause.code ?? cause.message });
  });
  if ((mode & 0o077) !== 0) world.stderr.write(`Warning: others may read ${file}; "chmod 600" it.\n`);
  return await readText(file);
}

/** A text file, or standard input for "-"; a failure names the file. */
export async function readText(file: string, stdin?: Readable): Promise<string> {
  if (file === "-" && stdin) return Buffer.concat(await stdin.toArray()).toString("utf8");
  return await readFile(file, "utf8").catch((cause: NodeJS.ErrnoException) => {
    throw failure("FILE_UNREADABLE", { file, reason: cause.code ?? cause.message });
  });
}

/** Parses a JSON or complains with the file's name. */
export function parseJson(text: string, file: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new CliFailure("FILE_UNREADABLE", `The file ${file} is not valid JSON: ${(cause as Error).message}.`);
  }
}

/** For commander: an option that takes a whole number within bounds. */
export function wholeNumber(from: number, to: number): (text: string) => number {
  return (text) => {
    const value = /^-?\d{1,15}$/.test(text) ? Number(text) : Number.NaN;
    if (value >= from && value <= to) return value;
    throw new InvalidArgumentError(`It must be a whole number from ${from} to ${to}.`);
  };
}

/** For commander: an option that may be repeated and collects its texts. */
export function collect(text: string, before: readonly string[] | undefined): readonly string[] {
  return [...(before ?? []), text];
}

/** For commander: collects "name=value". */
export function collectPair(text: string, before: Readonly<Record<string, string>> | undefined) {
  const cut = text.indexOf("=");
  if (cut < 1) throw new InvalidArgumentError('It must look like "name=value".');
  return { ...before, [text.slice(0, cut)]: text.slice(cut + 1) };
}

const SPAN_MS = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const;

/** For commander: a span such as "90d", "12h", "30m" or "45s", in milliseconds. */
export function span(text: string): number {
  const match = /^(\d{1,6})([smhd])$/.exec(text);
  if (!match) throw new InvalidArgumentError('It must look like "90d", "12h", "30m" or "45s".');
  return Number(match[1]) * SPAN_MS[match[2] as keyof typeof SPAN_MS];
}

/** For commander: a time in ISO 8601, in milliseconds since 1970 UTC. A time without a zone is refused, not guessed. */
export function moment(text: string): number {
  const atMs = /^\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d))?$/.test(text)
    ? Date.parse(text)
    : Number.NaN;
  if (Number.isNaN(atMs)) throw new InvalidArgumentError('It must look like "2026-01-31" or "2026-01-31T08:00:00Z".');
  return atMs;
}
