/**
 * GET requests over 50 connections, each asking again as soon as it was answered: `load.ts URL [TOKEN]` prints the
 * requests answered a second. Plain sockets, and answers that are only counted off: Node's own client takes longer for
 * a request than the servers it would measure, on a machine where both share two cores.
 */
import { connect } from "node:net";

const CONNECTIONS = 50;
const WARM_UP_MS = 1_000;
const MEASURED_MS = 4_000;
const HEAD_END = Buffer.from("\r\n\r\n");

const [target = "", token] = process.argv.slice(2);
const url = new URL(target);
const login = token === undefined ? "" : `Authorization: Bearer ${token}\r\n`;
const question = Buffer.from(`GET ${url.pathname}${url.search} HTTP/1.1\r\nHost: ${url.host}\r\n${login}\r\n`);
let answered = 0;

function ask(): void {
  const socket = connect(Number(url.port), url.hostname, () => socket.write(question));
  let head: Buffer = Buffer.alloc(0);
  let left = 0;
  socket.setNoDelay(true);
  socket.on("error", fail).on("close", () => fail(new Error("the server hung up")));
  socket.on("data", (bytes: Buffer) => {
    let body = bytes;
    if (left === 0) {
      head = head.length === 0 ? bytes : Buffer.concat([head, bytes]);
      const end = head.indexOf(HEAD_END);
      if (end < 0) return;
      left = lengthOf(head.toString("latin1", 0, end));
      body = head.subarray(end + HEAD_END.length);
      head = Buffer.alloc(0);
    }
    left -= body.length;
    if (left > 0) return;
    if (left < 0) fail(new Error("more was answered than was asked for"));
    answered++;
    socket.write(question);
  });
}

/** Length of the body that follows this head of a success. */
function lengthOf(head: string): number {
  const length = /\r\ncontent-length: *(\d+)/i.exec(head)?.[1];
  if (!head.startsWith("HTTP/1.1 200 ") || length === undefined || length === "0") fail(new Error(head));
  return Number(length);
}

function fail(cause: Error): never {
  throw cause;
}

for (let i = 0; i < CONNECTIONS; i++) ask();
setTimeout(() => {
  const from = answered;
  const startMs = performance.now();
  setTimeout(() => {
    const figure = ((answered - from) / (performance.now() - startMs)) * 1_000;
    process.stdout.write(`${JSON.stringify({ figure })}\n`, () => process.exit(0));
  }, MEASURED_MS);
}, WARM_UP_MS);
