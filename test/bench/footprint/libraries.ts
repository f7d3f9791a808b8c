/**
 * What the agent's libraries take by themselves, in one thread: better-sqlite3, mqtt, and an ONNX Runtime session that
 * has run once. `node test/bench/footprint/libraries.ts mb` prints resident MB, `… ms` how long it took from the process's start.
 */
import { readFileSync } from "node:fs";
import Database from "better-sqlite3";
import "mqtt";
import { InferenceSession, Tensor } from "onnxruntime-node";
import { timesModel } from "../../kit/packages.ts";

const database = new Database(":memory:");
database.exec("CREATE TABLE t (x)");
const session = await InferenceSession.create(timesModel(10), { intraOpNumThreads: 1, interOpNumThreads: 1 });
await session.run({ in: new Tensor("float32", Float32Array.of(1), [1, 1]) });
const ms = performance.now();
const resident = /VmRSS:\s+(\d+) kB/.exec(readFileSync("/proc/self/status", "latin1"))?.[1];
const figure = process.argv[2] === "ms" ? ms : Number(resident) / 1_024;
process.stdout.write(`${JSON.stringify({ figure })}\n`);
database.close();
