/**
 * Preloaded by `--import` into a process of a test and its threads: told by SIGUSR2 to collect garbage, all of them do, and
 * a line on standard error says when they have. What is resident then is what the program holds.
 */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { BroadcastChannel, isMainThread } from "node:worker_threads";

setFlagsFromString("--expose-gc");
const gc = runInNewContext("gc") as (options: object) => void;
// The last resort of a heap that is full also gives back what V8 keeps for later.
const collect = () => gc({ type: "major", execution: "sync", flavor: "last-resort" });
const channel = new BroadcastChannel("bellwether-test-garbage");
channel.unref();

if (isMainThread) {
  let threads = 0;
  let missing = 0;
  process.on("worker", (worker) => {
    threads++;
    worker.once("exit", () => threads--);
  });
  channel.onmessage = () => {
    if (--missing === 0) process.stderr.write("garbage is collected\n");
  };
  process.on("SIGUSR2", () => {
    collect();
    missing = threads;
    channel.postMessage("collect");
  });
} else {
  channel.onmessage = ({ data }) => {
    if (data !== "collect") return;
    collect();
    channel.postMessage("collected");
  };
}
