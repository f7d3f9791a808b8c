/**
 * Preloaded by `--import` into a process of a test and its threads: its wall clock is ahead by as many milliseconds as a file
 * says (CLOCK_FILE), which may change at any moment. The monotonic clock is the machine's own.
 */
import { readFileSync } from "node:fs";

const LOOK_EVERY_MS = 100;
const file = process.env["CLOCK_FILE"];
const RealDate = Date;
let aheadMs = 0;

function look(): void {
  try {
    aheadMs = Number(readFileSync(file as string, "utf8")) || 0;
  } catch {
    // Not there yet.
  }
}

if (file !== undefined) {
  look();
  setInterval(look, LOOK_EVERY_MS).unref();
  globalThis.Date = new Proxy(RealDate, {
    construct: (target, args, newTarget) =>
      Reflect.construct(target, args.length === 0 ? [RealDate.now() + aheadMs] : args, newTarget),
    get: (target, name) => (name === "now" ? () => RealDate.now() + aheadMs : Reflect.get(target, name)),
  });
}
