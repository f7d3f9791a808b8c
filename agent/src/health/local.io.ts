import { openSync, rmSync } from "node:fs";
import { connect, createServer, type Server } from "node:net";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { err, ok, type Result } from "@bellwether/protocol/result.ts";

const SOCKET = "agent.sock";
/** sockaddr_un holds 107 bytes of path (unix(7)). */
const PATH_BYTES_MAX = 107;
const ANSWER_LIMIT_MS = 3_000;

/**
 * A Unix socket in the state directory that answers every connection with one JSON document: what `status` shows, from
 * the running agent itself, so that nothing written earlier can pass for the present.
 */
export async function serveLocal(stateDir: string, answer: () => unknown): Promise<Server> {
  const server = createServer((socket) => {
    socket.on("error", () => undefined); // a reader that went away needs no answer
    socket.setTimeout(ANSWER_LIMIT_MS, () => socket.destroy());
    socket.end(`${JSON.stringify(answer())}\n`);
  });
  server.maxConnections = 8;
  // Only the holder of the state directory's lock comes here: a socket file that exists is a dead agent's.
  rmSync(join(stateDir, SOCKET), { force: true });
  const path = socketPath(stateDir);
  await new Promise<void>((done, fail) => {
    server.once("error", fail);
    server.listen(path, done);
  });
  server.unref();
  return server;
}

/** Asks the agent that runs on this state directory. */
export async function askLocal(stateDir: string): Promise<Result<unknown>> {
  const socket = connect(socketPath(stateDir));
  socket.setTimeout(ANSWER_LIMIT_MS, () => socket.destroy(new Error("no answer")));
  try {
    return ok(JSON.parse(await text(socket)));
  } catch {
    return err("AGENT_NOT_RUNNING", { stateDir });
  }
}

/** The path itself, or where it is too long for a socket, the same through an open folder of this process. */
function socketPath(stateDir: string): string {
  const path = join(stateDir, SOCKET);
  if (Buffer.byteLength(path) <= PATH_BYTES_MAX) return path;
  try {
    return `/proc/self/fd/${openSync(stateDir, "r")}/${SOCKET}`;
  } catch {
    return path; // no such folder: connecting says so
  }
}
