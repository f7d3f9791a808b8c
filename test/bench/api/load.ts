/**
 * GET requests over 50 connections, each asking again as soon as it was answered: `load.ts URL [TOKEN]` prints the
 * requests answered a second.
 */
import { Agent, get } from "node:http";

const CONNECTIONS = 50;
const WARM_UP_MS = 1_000;
const MEASURED_MS = 4_000;

const [url = "", token] = process.argv.slice(2);
const agent = new Agent({ keepAlive: true, maxSockets: CONNECTIONS });
const headers = token === undefined ? {} : { authorization: `Bearer ${token}` };
let answered = 0;

function ask(): void {
  get(url, { agent, headers }, (answer) => {
    if (answer.statusCode !== 200) throw new Error(`${url} answered ${answer.statusCode}`);
    answer.resume().on("end", () => {
      answered++;
      ask();
    });
  });
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
