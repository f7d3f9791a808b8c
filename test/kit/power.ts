import { execFileSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { onTestFinished } from "vitest";
import { temporaryFolder } from "./folder.ts";

/** A file system of its own whose power can fail: what was not synced by then is gone. */
export interface TestDisk {
  readonly folder: string;
  /** Brings all that is written so far to the disk. */
  sync(): void;
  /** From now on nothing reaches the disk, not even what its journal holds. Every process on it must end. */
  cut(): void;
  /** The disk as a machine finds it that starts again: its journal is replayed. */
  restart(): Promise<void>;
}

const MEGABYTES = 128;
// As unkind as ext4 may be set: a rename brings no data with it that was not synced, and nothing is written in passing.
const OPTIONS = "loop,data=writeback,noauto_da_alloc,commit=300";
/** FS_IOC_SHUTDOWN without flushing the journal (EXT4_GOING_FLAGS_NOLOGFLUSH); Node itself has no ioctl. */
const SHUTDOWN =
  'open(my $disk, "<", $ARGV[0]) or die $!; my $how = pack("L", 2); ioctl($disk, 0x8004587d, $how) or die $!';
const UNMOUNT_TRIES = 100;

/** A new ext4 on a loop device, mounted until the test ends. Needs root, as the suites of crashes do. */
export function startDisk(): TestDisk {
  const below = temporaryFolder();
  const [image, folder] = [join(below, "image"), join(below, "disk")];
  const run = (command: string, ...args: string[]) => void execFileSync(command, args, { stdio: "pipe" });
  const mount = () => run("mount", "-o", OPTIONS, image, folder);
  run("truncate", "-s", `${MEGABYTES}M`, image);
  run("mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", image);
  mkdirSync(folder);
  mount();
  onTestFinished(() => run("umount", "-l", folder));
  return {
    folder,
    sync: () => run("sync", "-f", folder),
    cut: () => run("perl", "-e", SHUTDOWN, folder),
    async restart() {
      for (let left = UNMOUNT_TRIES; ; left -= 1) {
        try {
          run("umount", folder);
          break;
        } catch (cause) {
          // The kernel lets go of a killed process's files a little after the process.
          if (left === 0) throw cause;
          await wait(50);
        }
      }
      mount();
    },
  };
}
