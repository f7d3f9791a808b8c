import { execFileSync } from "node:child_process";
import { mkdirSync, rmSync, statfsSync } from "node:fs";
import { join } from "node:path";
import { onTestFinished } from "vitest";
import { temporaryFolder } from "./folder.ts";

/** A file system of its own that something else may fill. */
export interface SmallDisk {
  readonly folder: string;
  /** From now on every write that needs room fails (ENOSPC). */
  fill(): void;
  /** What filled it is gone. */
  free(): void;
}

const FILL_TRIES = 20;

/** A new file system of this size in memory, mounted until the test ends. Needs root, as the suites of crashes do. */
export function startSmallDisk(megabytes: number): SmallDisk {
  const folder = join(temporaryFolder(), "disk");
  mkdirSync(folder);
  const run = (command: string, ...args: string[]) => void execFileSync(command, args, { stdio: "pipe" });
  run("mount", "-t", "tmpfs", "-o", `size=${megabytes}M`, "tmpfs", folder);
  onTestFinished(() => run("umount", "-l", folder));
  const ballast = join(folder, "ballast");
  return {
    folder,
    fill() {
      for (let size = 0, left = FILL_TRIES; left > 0; left--) {
        const { bavail, bsize } = statfsSync(folder);
        if (bavail === 0) return;
        try {
          run("fallocate", "-o", String(size), "-l", String(bavail * bsize), ballast);
          size += bavail * bsize;
        } catch {
          // Somebody took some of it meanwhile.
        }
      }
    },
    free: () => rmSync(ballast, { force: true }),
  };
}
