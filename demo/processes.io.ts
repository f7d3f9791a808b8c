import { type ChildProcess, execFile, spawn } from "node:child_process";
import { createWriteStream } from "node:fs";
import { readFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";

const root = resolve(import.meta.dirname, "..");
const bin = (name: string) => join(root, "node_modules/.bin", name);

/** How long a process may take to end by itself once it is asked to. */
const STOP_LIMIT_MS = 10_000;

/** What was started and still runs. */
const alive = new Set<ChildProcess>();
let over = false;

/** Environment of every process of the story: nothing of the caller's but what a program needs to start. */
function environment(extra: Record<string, string>): NodeJS.ProcessEnv {
  const { PATH, HOME, LANG } = process.env;
  // The compile cache saves each of the seven processes a second of its start.
  return { PATH, HOME, LANG, NODE_COMPILE_CACHE: join(root, ".cache/compile"), ...extra };
}

/** A started public command. */
export interface Running {
  readonly name: string;
  readonly pid: number;
  readonly exited: Promise<number | null>;
  kill(signal: NodeJS.Signals): void;
  /** SIGTERM, then SIGKILL after the limit; resolves when it is gone. */
  stop(): Promise<void>;
}

export interface StartOptions {
  /** Its standard error goes there. */
  readonly logFile: string;
  /** Gets each line of standard output. */
  readonly onLine?: (line: string) => void;
  /** Called when it ends though nobody asked it to. */
  readonly onDeath: (why: Error) => void;
}

/** Starts a public command. */
export function start(
  name: "bellwether" | "bellwether-agent",
  args: readonly string[],
  { logFile, onLine, onDeath }: StartOptions,
): Running {
  refuseWhenOver();
  const child = spawn(bin(name), args, { env: environment({}), stdio: ["ignore", "pipe", "pipe"] });
  alive.add(child);
  let asked = false;
  child.stderr.pipe(createWriteStream(logFile, { flags: "a" }));
  createInterface({ input: child.stdout }).on("line", (line) => onLine?.(line));
  const exited = new Promise<number | null>((done) => {
    child.once("exit", (code, signal) => {
      alive.delete(child);
      done(code);
      if (!asked && !over) void lastWords(logFile).then((words) => onDeath(deathOf(name, args, signal ?? code, words)));
    });
  });
  const kill = (signal: NodeJS.Signals) => {
    asked = true;
    child.kill(signal);
  };
  return {
    name,
    pid: child.pid as number,
    exited,
    kill,
    stop: () => {
      asked = true;
      return endOf(child);
    },
  };
}

/** Runs a public command to its end; answers its standard output, throws its standard error. */
export function run(
  name: "bellwether" | "bellwether-agent",
  args: readonly string[],
  env: Record<string, string> = {},
): Promise<string> {
  refuseWhenOver();
  return new Promise((done, fail) => {
    const options = { env: environment(env), maxBuffer: 512 * 1024 * 1024 };
    const child = execFile(bin(name), [...args], options, (error, stdout, stderr) =>
      error ? fail(new Error(`${name} ${args.join(" ")}: ${stderr.trim() || error.message}`)) : done(stdout),
    );
    alive.add(child);
    child.once("exit", () => alive.delete(child));
  });
}

/** Ends everything that still runs, whatever it is about; nothing is started from then on. */
export async function endAll(): Promise<void> {
  over = true;
  await Promise.all([...alive].map(endOf));
}

async function endOf(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = new Promise((done) => child.once("exit", done));
  child.kill("SIGTERM");
  const timer = setTimeout(() => child.kill("SIGKILL"), STOP_LIMIT_MS);
  await gone;
  clearTimeout(timer);
}

/** A step of the story that was under way when it ended must not start what nobody would end. */
function refuseWhenOver(): void {
  if (over) throw new Error("the story is over");
}

async function lastWords(logFile: string): Promise<string> {
  const text = await readFile(logFile, "utf8").catch(() => "");
  return text.trim().split("\n").slice(-3).join("\n");
}

function deathOf(name: string, args: readonly string[], how: string | number | null, words: string): Error {
  return new Error(`${name} ${args.join(" ")} ended by itself (${how}). Its last words:\n${words}`);
}
