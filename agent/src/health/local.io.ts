import { openSync, rmSync } from "node:fs";
import { connect, createServer, type Server, type Socket } from "node:net";
import { isAbsolute, join } from "node:path";
import { text } from "node:stream/consumers";
import { err, ok, type Result } from "@bellwether/protocol/result.ts";

const SOCKET = "agent.sock";
/** sockaddr_un holds 107 bytes of path (unix(7)). */
const PATH_BYTES_MAX = 107;
const ANSWER_LIMIT_MS = 3_000;
/** A bundle's document is judged within a minute, or refused; a new key takes two requests. */
const LONG_LIMIT_MS = 90_000;
const ASKED_BYTES_MAX = 8_192;

/** What the running agent is asked on its socket. */
export type LocalAsk =
  | { readonly ask: "status" }
  | { readonly ask: "rotateKey" }
  | { readonly ask: "update"; readonly bundle: string };

/**
 * A Unix socket in the state directory that answers a JSON document with another one: what `status` shows, from the
 * running agent itself, so that nothing written earlier can pass for the present, and what became of a bundle. Who may
 * ask is who may enter the state directory.
 */
export async function serveLocal(stateDir: string, answer: (asked: LocalAsk) => unknown): Promise<Server> {
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on("error", () => undefined); // a reader that went away needs no answer
    socket.setTimeout(ANSWER_LIMIT_MS, () => socket.destroy());
    heard(socket)
      .then(async (asked) => {
        if (asked === undefined) return socket.destroy();
        if (asked.ask !== "status") socket.setTimeout(LONG_LIMIT_MS);
        return socket.end(`${JSON.stringify(await answer(asked))}\n`);
      })
      .catch(() => socket.destroy());
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

/** What somebody asks, undefined where it is no such thing. */
async function heard(socket: Socket): Promise<LocalAsk | undefined> {
  try {
    let said = "";
    for await (const part of socket.setEncoding("utf8")) {
      said += part;
      if (said.length > ASKED_BYTES_MAX) return undefined;
    }
    const asked = JSON.parse(said) as Partial<{ ask: string; bundle: string }> | null;
    if (asked?.ask === "status" || asked?.ask === "rotateKey") return { ask: asked.ask };
    const { ask, bundle } = asked ?? {};
    return ask === "update" && typeof bundle === "string" && isAbsolute(bundle) ? { ask, bundle } : undefined;
  } catch {
    return undefined;
  }
}

/** Asks the agent that runs on this state directory. */
export async function askLocal(stateDir: string, asked: LocalAsk = { ask: "status" }): Promise<Result<unknown>> {
  const socket = connect(socketPath(stateDir));
  const limitMs = asked.ask !== "status" ? LONG_LIMIT_MS : ANSWER_LIMIT_MS;
  socket.setTimeout(limitMs, () => socket.destroy(new Error("no answer")));
  socket.end(JSON.stringify(asked));
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
