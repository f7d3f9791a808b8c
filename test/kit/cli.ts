import { Readable, Writable } from "node:stream";
import { type AddCommands, runCli } from "../../fleet-server/src/cli/program.ts";

/** What a command line did. */
export interface CliRun {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a command line in this process, against whatever server BELLWETHER_URL names. */
export async function cli(
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
  more: readonly AddCommands[] = [],
  stdin = "",
): Promise<CliRun> {
  const out = collector();
  const said = collector();
  const world = {
    env,
    stdin: Readable.from([Buffer.from(stdin)]),
    stdout: out.stream,
    stderr: said.stream,
    interactive: false,
    columns: () => Number.POSITIVE_INFINITY,
    nowMs: Date.now,
    signal: new AbortController().signal,
  };
  const exitCode = await runCli(args, world, "0.0.0", more);
  return { exitCode, stdout: out.text(), stderr: said.text() };
}

function collector(): { stream: Writable; text(): string } {
  const chunks: Buffer[] = [];
  const stream = new Writable({
    write(chunk, _encoding, done) {
      chunks.push(Buffer.from(chunk));
      done();
    },
  });
  return { stream, text: () => Buffer.concat(chunks).toString("utf8") };
}
