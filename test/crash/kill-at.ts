/**
 * Preloaded by `--import` into a process of a test and its threads: counts what each thread does durably below a folder,
 * and kills the process before the call that the test chose. Environment: KILL_BELOW (the folder), KILL_AT
 * ("thread:number"), or none to only say what is counted.
 */
import fs from "node:fs";
import { syncBuiltinESMExports } from "node:module";
import { isMainThread, workerData } from "node:worker_threads";

const below = process.env["KILL_BELOW"] ?? "/nowhere";
const at = process.env["KILL_AT"];
const thread = isMainThread ? "agent" : String((workerData as { role?: string } | null)?.role);
const isRole = process.argv[2]?.startsWith("--bellwether-role=") ?? false;
let count = 0;

function counted<A extends unknown[], R>(name: string, call: (...args: A) => R): (...args: A) => R {
  return (...args) => {
    const path = typeof args[0] === "number" ? fs.readlinkSync(`/proc/self/fd/${args[0]}`) : String(args[0]);
    if (path.startsWith(below)) {
      const point = `${thread}:${++count}`;
      if (point === at) process.kill(process.pid, "SIGKILL");
      if (at === undefined) fs.writeSync(1, `point ${point} ${name} ${path.slice(below.length)}\n`);
    }
    return call(...args);
  };
}

if (isMainThread ? !isRole : thread === "metadata") {
  fs.renameSync = counted("rename", fs.renameSync);
  fs.fsyncSync = counted("fsync", fs.fsyncSync);
  fs.rmSync = counted("rm", fs.rmSync);
  fs.mkdirSync = counted("mkdir", fs.mkdirSync as (path: fs.PathLike) => undefined) as typeof fs.mkdirSync;
  syncBuiltinESMExports();
}
