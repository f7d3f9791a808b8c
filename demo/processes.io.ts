import { type ChildProcess, execFile, spawn } from "node:child_process";
import { createWriteStream } from "node:fs";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";

const root = resolve(import.meta.dirname, "..");
const bin = (name: string) => join(root, "node_modules/.bin", name);

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
  stop(limitMs?: number): Promise<void>;
}

/** Starts a public command; its standard error goes to `logFile`. `onLine` gets each line of standard output. */
export function start(
  name: "bellwether" | "bellwether-agent",
  args: readonly string[],
  options: { logFile: string; onLine?: (line: string) => void; env?: Record<string, string> },
): Running {
  const child: ChildProcess = spawn(bin(name), args, {
    env: environment(options.env ?? {}),
    stdio: ["ignore", "pipe", "pipe"],
  });
  child.stderr?.pipe(createWriteStream(options.logFile, { flags: "a" }));
  if (child.stdout) createInterface({ input: child.stdout }).on("line", (line) => options.onLine?.(line));
  const exited = new Promise<number | null>((done) => child.once("exit", (code) => done(code)));
  const kill = (signal: NodeJS.Signals) => {
    if (child.exitCode === null && child.signalCode === null) child.kill(signal);
  };
  return {
    name,
    pid: child.pid as number,
    exited,
    kill,
    async stop(limitMs = 10_000) {
      kill("SIGTERM");
      const timer = setTimeout(() => kill("SIGKILL"), limitMs);
      await exited;
      clearTimeout(timer);
    },
  };
}

/** Runs a public command to its end; answers its standard output, throws its standard error. */
export function run(
  name: "bellwether" | "bellwether-agent",
  args: readonly string[],
  env: Record<string, string> = {},
): Promise<string> {
  return new Promise((done, fail) => {
    execFile(bin(name), [...args], { env: environment(env), maxBuffer: 512 * 1024 * 1024 }, (error, stdout, stderr) =>
      error ? fail(new Error(`${name} ${args.join(" ")}: ${stderr.trim() || error.message}`)) : done(stdout),
    );
  });
}
