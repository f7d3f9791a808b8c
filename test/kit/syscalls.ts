/** A call by which an update changes the disk: the k-th of its kind on a path by the same thread. */
export interface DiskCall {
  readonly syscall: string;
  readonly path: string;
  readonly k: number;
}

const CALLS = "write,pwrite64,fsync,fdatasync,ftruncate,rename,renameat,renameat2,unlink,unlinkat,rmdir,mkdir";
const STRACE = ["/usr/bin/strace", "-D", "-f", "-qq", "-y", "-s", "0"];
/** One thread for the files of all others: else the k-th call of a thread is another one in every run. */
export const ONE_FILE_THREAD = { UV_THREADPOOL_SIZE: "1" } as const;

/** What stands before a command so that strace, from beside, notes in `file` how it changes the disk. */
export const noting = (file: string): string[] => [
  ...STRACE,
  "--seccomp-bpf",
  "-o",
  file,
  "-e",
  `trace=${CALLS}`,
  "--",
];

/**
 * What stands before a command so that one call meets something: `signal=SIGKILL`, `error=EIO`, … (strace 6.1 injects
 * nothing on a path when a filter in the kernel chooses the calls.) Such calls are noted in `file`: {@link wasInjected}.
 */
export function injecting({ syscall, path, k }: DiskCall, what: string, file: string): string[] {
  const inject = [`trace=${syscall}`, `inject=${syscall}:${what}:when=${k}`];
  return [...STRACE, "-o", file, "-P", path, ...inject.flatMap((each) => ["-e", each]), "--"];
}

/** Reads what strace noted: the calls on paths that `concerns` accepts, in their order. */
export function diskCalls(text: string, concerns: (path: string) => boolean): DiskCall[] {
  const counts = new Map<string, number>();
  return text.split("\n").flatMap((line): DiskCall[] => {
    const [, thread, syscall] = /^(\d+) +(\w+)\(/.exec(line) ?? [];
    const paths = [...line.matchAll(/<(\/[^>]*)>|"(\/[^"]*)"/g)].map(([, open, named]) => open ?? named!);
    const path = paths.find(concerns);
    if (syscall === undefined || path === undefined) return [];
    const key = `${thread} ${syscall} ${path}`;
    const k = (counts.get(key) ?? 0) + 1;
    counts.set(key, k);
    return [{ syscall, path, k }];
  });
}

/** Whether a call met what was to be injected, by what strace noted. */
export function wasInjected(text: string): boolean {
  return text.includes("(INJECTED)");
}
