import type { CliWorld } from "./context.io.ts";

/** The real world of a command: this process. */
export function processWorld(): CliWorld {
  const interrupted = new AbortController();
  process.once("SIGINT", () => interrupted.abort());
  // "bellwether events | head": a reader that has enough is no failure.
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    process.exit(error.code === "EPIPE" ? 0 : 1);
  });
  return {
    env: process.env,
    stdin: process.stdin,
    stdout: process.stdout,
    stderr: process.stderr,
    interactive: process.stdout.isTTY === true,
    nowMs: Date.now,
    signal: interrupted.signal,
  };
}
