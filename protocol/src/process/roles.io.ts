import { type ChildProcess, type SpawnOptions, spawn } from "node:child_process";
import { isMainThread, Worker, type WorkerOptions, workerData } from "node:worker_threads";

const CHILD_FLAG = "--bellwether-role=";

/** Limits that the kernel holds for a child, whatever its native code does. */
export interface Ulimits {
  /** Writable private memory (RLIMIT_DATA): an allocation beyond it fails before a page of it is touched. */
  readonly dataBytes?: number;
  /** Processor time of all its threads: ends it also when whoever started it was killed and watches no more. */
  readonly cpuSeconds: number;
}
export type ChildOptions = SpawnOptions & { readonly ulimits?: Ulimits };

// POSIX shells set limits on every system we run on; Node cannot. A system that does not know one of them goes without.
const LIMITED = 'ulimit -c 0 || :; ulimit -d "$1" || :; ulimit -t "$2" || :; shift 2; exec "$@"';

/**
 * Workers and children of a program start only through this: the program's own entry is started again with a role, and
 * its `main.ts` dispatches the role first. The same way in development and in a bundled executable.
 */
export interface RoleSpawner<Role extends string> {
  /** A thread that runs `role`; `data` is what `roleData()` returns there. */
  worker(role: Role, data: unknown, options?: WorkerOptions): Worker;
  /** A child process that runs `role`; it speaks over the IPC channel and inherits no standard input. */
  child(role: Role, args?: readonly string[], options?: ChildOptions): ChildProcess;
}

/** How a program starts itself again: by the URL of its `main.ts`, or, as an executable that carries its code, by a script. */
export type Entry = URL | { readonly script: string };

/** A spawner that starts `entry` again. */
export function roleSpawner<Role extends string>(entry: Entry): RoleSpawner<Role> {
  // An executable is its own entry; a second path would reach the program as an argument.
  const program = entry instanceof URL ? [...process.execArgv, entry.pathname] : [];
  return {
    worker: (role, data, options = {}) => {
      const start = { ...options, workerData: { role, data } };
      return entry instanceof URL ? new Worker(entry, start) : new Worker(entry.script, { ...start, eval: true });
    },
    child: (role, args = [], { ulimits, ...options } = {}) => {
      const command = [process.execPath, ...program, `${CHILD_FLAG}${role}`, ...args];
      const limited =
        ulimits === undefined
          ? command
          : ["/bin/sh", "-c", LIMITED, "sh", kilobytes(ulimits.dataBytes), String(ulimits.cpuSeconds), ...command];
      return spawn(limited[0]!, limited.slice(1), { stdio: ["ignore", "pipe", "pipe", "ipc"], ...options });
    },
  };
}

function kilobytes(bytes: number | undefined): string {
  return bytes === undefined ? "unlimited" : String(Math.ceil(bytes / 1024));
}

/** The role this thread or process was started for, or undefined for the program itself. */
export function currentRole(): string | undefined {
  if (!isMainThread) return (workerData as { role?: string } | null)?.role;
  const flag = process.argv[2];
  return flag?.startsWith(CHILD_FLAG) ? flag.slice(CHILD_FLAG.length) : undefined;
}

/** What the spawner passed to this thread as `data`. */
export function roleData<T>(): T {
  return (workerData as { data: T }).data;
}
