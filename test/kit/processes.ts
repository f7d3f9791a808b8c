import { type ChildProcess, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { onTestFinished } from "vitest";
import { eventually } from "./eventually.ts";
import { type Program, programFile } from "./programs.ts";

/** One of our commands, or an executable by its path. */
export type Command = Program | `/${string}`;

const LOG_LINES_MAX = 5_000;

/** A real process of one of our commands. */
export interface TestProcess {
  readonly pid: number;
  /** Lines of standard output and standard error so far, newest last, bounded. */
  readonly stdout: readonly string[];
  readonly stderr: readonly string[];
  /** Lines of standard error that are JSON objects: the agent's log. */
  log(): readonly Record<string, unknown>[];
  /** The code, or the signal's name, once it has ended. */
  readonly ended: Promise<number | string>;
  signal(signal: NodeJS.Signals): void;
  /** SIGTERM, and SIGKILL after `limitMs`; how it ended and how long that took. */
  stop(limitMs?: number): Promise<{ ended: number | string; ms: number }>;
  /** Waits for a line of standard output that `pick` accepts. */
  line<T>(what: string, pick: (line: string) => T | undefined | false, limitMs?: number): Promise<T>;
}

export interface TestProcessOptions {
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
}

/**
 * Starts a command as a user would, under the Node that runs the tests; it is killed when the test ends. An executable
 * by its path gets `env` and nothing else.
 */
export function startProcess(
  command: Command,
  args: readonly string[],
  { env = {}, cwd }: TestProcessOptions = {},
): TestProcess {
  const { PATH, HOME, LANG, NODE_COMPILE_CACHE } = process.env;
  const ours = command.startsWith("/") ? undefined : programFile(command as Program);
  const child: ChildProcess = spawn(ours ? process.execPath : command, ours ? [ours, ...args] : args, {
    env: ours ? { PATH, HOME, LANG, NODE_COMPILE_CACHE, ...env } : env,
    stdio: ["ignore", "pipe", "pipe"],
    ...(cwd === undefined ? {} : { cwd }),
  });
  const stdout = linesOf(child.stdout!);
  const stderr = linesOf(child.stderr!);
  const ended = new Promise<number | string>((done, fail) => {
    child.once("error", fail);
    // "close" comes after the last line was read, "exit" may not.
    child.once("close", (code, signal) => done(code ?? signal ?? "unknown"));
  });
  const alive = () => child.exitCode === null && child.signalCode === null;
  const signal = (name: NodeJS.Signals) => {
    if (alive()) child.kill(name);
  };
  onTestFinished(() => signal("SIGKILL"));
  return {
    pid: child.pid!,
    stdout,
    stderr,
    ended,
    signal,
    log: () =>
      stderr.flatMap((line) => {
        try {
          return line.startsWith("{") ? [JSON.parse(line) as Record<string, unknown>] : [];
        } catch {
          return []; // a line cut by a kill
        }
      }),
    async stop(limitMs = 10_000) {
      const startMs = performance.now();
      signal("SIGTERM");
      const timer = setTimeout(() => signal("SIGKILL"), limitMs);
      const how = await ended;
      clearTimeout(timer);
      return { ended: how, ms: performance.now() - startMs };
    },
    async line<T>(what: string, pick: (line: string) => T | undefined | false, limitMs = 20_000): Promise<T> {
      try {
        const found = await eventually(
          `${command}: ${what}`,
          () => {
            for (const line of stdout) {
              const value = pick(line);
              if (value !== undefined && value !== false) return { value };
            }
            return alive() ? undefined : { over: true };
          },
          limitMs,
        );
        if ("value" in found) return found.value as T;
        throw new Error(`${command} ended before ${what}`);
      } catch (cause) {
        throw new Error(`${(cause as Error).message}\n${stderr.slice(-20).join("\n")}`);
      }
    },
  };
}

/** Runs a command to its end: exit code (or signal) and output. */
export async function runProcess(
  command: Command,
  args: readonly string[],
  options: TestProcessOptions = {},
): Promise<{ ended: number | string; stdout: string; stderr: string }> {
  const running = startProcess(command, args, options);
  const ended = await running.ended;
  return { ended, stdout: running.stdout.join("\n"), stderr: running.stderr.join("\n") };
}

function linesOf(stream: NodeJS.ReadableStream): string[] {
  const lines: string[] = [];
  createInterface({ input: stream }).on("line", (line) => {
    lines.push(line);
    if (lines.length > LOG_LINES_MAX) lines.shift();
  });
  return lines;
}
