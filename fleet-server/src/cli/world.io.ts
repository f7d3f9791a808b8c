import { createInterface } from "node:readline";
import { Writable } from "node:stream";
import type { CliWorld } from "./context.io.ts";

/** The real world of a command: this process. */
export function processWorld(): CliWorld {
  const interrupted = new AbortController();
  process.once("SIGINT", () => interrupted.abort());
  // "bellwether events | head": a reader that has enough is no failure.
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    process.exit(error.code === "EPIPE" ? 0 : 1);
  });
  // Nobody reads the log any more: no reason for a server to end.
  process.stderr.on("error", () => {});
  return {
    env: process.env,
    stdin: process.stdin,
    stdout: process.stdout,
    stderr: process.stderr,
    interactive: process.stdout.isTTY === true,
    columns: () => process.stdout.columns ?? Number.POSITIVE_INFINITY,
    nowMs: Date.now,
    ...(process.stdin.isTTY && process.stderr.isTTY ? { askSecret } : {}),
    signal: interrupted.signal,
  };
}

/** Reads a line without showing what is typed. */
function askSecret(question: string): Promise<string> {
  process.stderr.write(question);
  const nowhere = new Writable({ write: (_chunk, _encoding, done) => done() });
  const reader = createInterface({ input: process.stdin, output: nowhere, terminal: true });
  return new Promise((resolve) => {
    reader.question("", (answer) => {
      reader.close();
      process.stderr.write("\n");
      resolve(answer);
    });
  });
}
