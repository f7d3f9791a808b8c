import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { setTimeout as wait } from "node:timers/promises";

const LINES_MAX = 20;
const STOP_MS_MAX = 10_000;

/** A process of a benchmark. What it measures comes as JSON lines on its standard output. */
export interface Child {
  readonly pid: number;
  /** The next JSON line that has this member; fails with the last of its standard error when it ends first. */
  next<T extends object>(member: keyof T & string): Promise<T>;
  say(message: object): void;
  /** Resolves when it ended in good order, fails with the last of its standard error when it did not. */
  readonly ended: Promise<void>;
  /** SIGTERM, and SIGKILL when that does not help. */
  stop(): Promise<void>;
}

/** Starts a file of ours under the Node that runs the benchmark; `cwd` is the clone. */
export function startFile(file: string, args: readonly string[] = []): Child {
  return startCommand(process.execPath, [new URL(file, import.meta.url).pathname, ...args]);
}

/** Starts any command, with these variables beside those of the benchmark. */
export function startCommand(
  command: string,
  args: readonly string[],
  variables: Readonly<Record<string, string>> = {},
): Child {
  const child = spawn(command, args, { stdio: ["pipe", "pipe", "pipe"], env: { ...process.env, ...variables } });
  const lines: object[] = [];
  const errors: string[] = [];
  let wake = () => {};
  let over: string | undefined;
  createInterface({ input: child.stdout }).on("line", (line) => {
    if (!line.startsWith("{")) return;
    lines.push(JSON.parse(line) as object);
    wake();
  });
  createInterface({ input: child.stderr }).on("line", (line) => {
    errors.push(line);
    if (errors.length > LINES_MAX) errors.shift();
  });
  child.stdin.on("error", () => undefined); // it ended; `next` tells
  const end = (how: string) => {
    over = how;
    wake();
  };
  const failure = (how: string) => new Error(`${command} ${args.join(" ")}: ${how}\n${errors.join("\n")}`);
  child.once("error", (cause) => end(cause.message));
  child.once("close", (code, signal) => end(`it ended with ${code ?? signal}`));
  const ended = once(child, "close").then(([code, signal]) => {
    if (code !== 0) throw failure(`it ended with ${code ?? signal}`);
  });
  ended.catch(() => undefined); // told to whoever waits for it
  return {
    pid: child.pid ?? -1,
    async next<T extends object>(member: keyof T & string): Promise<T> {
      for (;;) {
        const found = lines.findIndex((line) => Object.hasOwn(line, member));
        if (found >= 0) return lines.splice(found, 1)[0] as T;
        if (over !== undefined) throw failure(over);
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
    },
    say: (message) => void child.stdin.write(`${JSON.stringify(message)}\n`),
    ended,
    stop: () => stop(child),
  };
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const closed = once(child, "close");
  child.kill("SIGTERM");
  const timer = setTimeout(() => child.kill("SIGKILL"), STOP_MS_MAX);
  await closed;
  clearTimeout(timer);
}

/** Runs a file that prints one JSON line with this member, and ends. */
export async function measureFile<T extends object>(
  file: string,
  member: keyof T & string,
  args: readonly string[] = [],
): Promise<T> {
  const child = startFile(file, args);
  try {
    const line = await child.next<T>(member);
    // It stops what it started before it ends; stopped now, it would leave its own processes behind.
    await Promise.race([child.ended, wait(STOP_MS_MAX, undefined, { ref: false })]);
    return line;
  } finally {
    await child.stop();
  }
}

/** The `figure` that a file measures. */
export async function figureOf(file: string, args: readonly string[] = []): Promise<number> {
  return (await measureFile<{ figure: number }>(file, "figure", args)).figure;
}
