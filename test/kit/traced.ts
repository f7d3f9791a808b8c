/** What a traced run asked of the system. */
export interface Asked {
  /** Where it connected or sent to: "address:port", or the path of a socket. */
  readonly peers: ReadonlySet<string>;
  /** Files and folders it made. */
  readonly made: ReadonlySet<string>;
  /** Programs it started, with their arguments. */
  readonly started: readonly string[];
}

/**
 * Arguments of strace that write what `parseTrace` reads to `file`, of the command that follows and all it starts. The
 * command keeps the process that was started: strace watches it from beside.
 */
export function traceArgs(file: string): string[] {
  const calls = "connect,sendto,sendmsg,sendmmsg,openat,openat2,open,creat,mkdir,mkdirat,execve";
  return ["-D", "-f", "--seccomp-bpf", "-qq", "-s", "4096", "-o", file, "-e", `trace=${calls}`, "--"];
}

/** Reads what strace wrote. */
export function parseTrace(text: string): Asked {
  const peers = new Set<string>();
  const made = new Set<string>();
  const started: string[] = [];
  for (const line of text.split("\n")) {
    // A call that was interrupted by another thread's is continued on a later line, without its path.
    const call = /^\d+ +(?:<\.\.\. )?(\w+)/.exec(line)?.[1] ?? "";
    for (const [, port, address] of line.matchAll(/sin6?_port=htons\((\d+)\).*?"([^"]+)"/g))
      peers.add(`${address}:${port}`);
    for (const [, path] of line.matchAll(/sun_path=@?"([^"]+)"/g)) peers.add(path!);
    const [path, ...rest] = [...line.matchAll(/"((?:[^"\\]|\\.)*)"/g)].map(([, text]) => text!);
    if (path === undefined) continue;
    if (line.includes("O_CREAT") || ["creat", "mkdir", "mkdirat"].includes(call)) made.add(path);
    if (call === "execve") started.push(rest.join(" "));
  }
  return { peers, made, started };
}
