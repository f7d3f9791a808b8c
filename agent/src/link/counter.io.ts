import { writeDurably } from "../durable.io.ts";
import { readIfThere } from "./files.io.ts";
import type { Counter } from "./ports.ts";

/**
 * A counter that survives restarts in a file. It begins at the time, so that one whose file was lost goes on above what
 * it gave before; and never goes back, so that a clock that does changes nothing. While the file cannot be written, it
 * goes on in memory.
 */
export function fileCounter(path: string, nowMs: () => number): Counter {
  let last = lastOf(path);
  return {
    next() {
      last = Math.max(last + 1, Math.floor(nowMs()));
      try {
        writeDurably(path, `${last}\n`);
      } catch (cause) {
        // A full or failing disk must not keep the device from saying so.
        if ((cause as NodeJS.ErrnoException).code === undefined) throw cause;
      }
      return last;
    },
  };
}

function lastOf(path: string): number {
  try {
    const last = Number(readIfThere(path)?.trim() ?? 0);
    return Number.isSafeInteger(last) && last >= 0 && last < Number.MAX_SAFE_INTEGER / 2 ? last : 0;
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === undefined) throw cause;
    return 0;
  }
}
