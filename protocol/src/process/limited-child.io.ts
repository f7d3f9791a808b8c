import type { ChildProcess } from "node:child_process";
import { constants, setPriority } from "node:os";
import { err, ok, type Result } from "../result.ts";
import type { ChildOptions } from "./roles.io.ts";
import { usageOf } from "./usage.io.ts";

/** What a child may take. */
export interface ChildLimits {
  /** Resident memory; also bounds, beyond what Node itself reserves, what it may allocate at all. */
  readonly memoryBytes: number;
  /** Processor time of all its threads: what its task needs, however busy the machine is. */
  readonly cpuMs: number;
  /** Beyond this it is ended, and `CHILD_STARVED` says that nothing is known of its task. */
  readonly wallMs: number;
}

/** What the child answered, and what it took. */
export interface Limited<T> {
  readonly answer: T;
  readonly peakBytes: number;
  readonly wallMs: number;
}

/** Writable private memory that Node 24 with ONNX Runtime has mapped before any model (measured: 610 MB, 100 MB of it resident). */
const NODE_DATA_BYTES = 700 * 1024 * 1024;
const WATCH_EVERY_MS = 20;
const STDERR_CHARS = 2_000;
/** No secrets of the program's environment go to a child that runs a stranger's model. */
const ENVIRONMENT = ["PATH", "TMPDIR", "LANG", "NODE_COMPILE_CACHE"] as const;

/**
 * Starts a child through `start`, sends it one task, and gives its one answer. Over its memory, its processor
 * time or the wall's, or dead before it answered, it is killed and the code says which: `CHILD_MEMORY_EXCEEDED`,
 * `CHILD_TIME_EXCEEDED`, `CHILD_STARVED`, `CHILD_DIED`. The child runs at low priority, and an allocation beyond its
 * memory fails inside it before a page is touched.
 */
export function askLimitedChild<T>(
  start: (options: ChildOptions) => ChildProcess,
  task: unknown,
  limits: ChildLimits,
  signal?: AbortSignal,
): Promise<Result<Limited<T>>> {
  const startMs = performance.now();
  const child = start({
    stdio: ["ignore", "ignore", "pipe", "ipc"],
    env: environment(limits.memoryBytes),
    ulimits: {
      dataBytes: NODE_DATA_BYTES + limits.memoryBytes,
      // The watch below comes first while the parent lives.
      cpuSeconds: Math.ceil(limits.cpuMs / 1_000) + 2,
    },
  });
  return new Promise((resolve) => {
    let peakBytes = 0;
    let stderr = "";
    let settled: Result<Limited<T>> | undefined;
    /** The first outcome counts; the promise resolves when the process is gone. */
    const settle = (outcome: Result<Limited<T>>) => {
      settled ??= outcome;
      child.kill("SIGKILL");
    };
    const watch = setInterval(() => {
      const { residentBytes, cpuMs } = usageOf(child.pid);
      peakBytes = Math.max(peakBytes, residentBytes);
      if (peakBytes > limits.memoryBytes) settle(memoryExceeded(limits, peakBytes));
      else if (cpuMs > limits.cpuMs) settle(err("CHILD_TIME_EXCEEDED", { limitMs: limits.cpuMs }));
    }, WATCH_EVERY_MS);
    const deadline = setTimeout(() => {
      const { cpuMs } = usageOf(child.pid);
      settle(err("CHILD_STARVED", { wallMs: limits.wallMs, cpuMs }));
    }, limits.wallMs);
    const abort = () => settle(err("CHILD_DIED", { reason: "it was no longer wanted" }));
    signal?.addEventListener("abort", abort, { once: true });
    child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      stderr = (stderr + text).slice(-STDERR_CHARS);
    });
    child.once("message", (answer) => {
      peakBytes = Math.max(peakBytes, usageOf(child.pid).residentBytes);
      settle(ok({ answer: answer as T, peakBytes, wallMs: performance.now() - startMs }));
    });
    child.once("error", (cause) => settle(err("CHILD_DIED", { reason: cause.message })));
    // "close" comes after the last output, also when the process never started.
    child.once("close", (code, killedBy) => {
      clearInterval(watch);
      clearTimeout(deadline);
      signal?.removeEventListener("abort", abort);
      resolve(settled ?? diedWith(stderr, killedBy ?? `exit code ${code}`, limits, peakBytes));
    });
    if (child.pid !== undefined) {
      lowerPriority(child.pid);
      child.send(task as object, (cause) => {
        // A child that is gone already is reported by its end, with what it said.
        if (cause !== null && child.exitCode === null) stderr += cause.message;
      });
    }
    if (signal?.aborted) abort();
  });
}

function diedWith(stderr: string, end: string, limits: ChildLimits, peakBytes: number): ReturnType<typeof err> {
  if (/bad_alloc|heap out of memory|[Ff]ailed to allocate memory|Cannot allocate memory/.test(stderr)) {
    return memoryExceeded(limits, peakBytes);
  }
  const line = stderr.trim().split("\n").at(-1)?.slice(0, 300);
  return err("CHILD_DIED", { reason: line ? `${end}: ${line}` : end });
}

/** `tookMb` is what was resident when it was last seen; an allocation that failed was never resident. */
function memoryExceeded({ memoryBytes }: ChildLimits, peakBytes: number): ReturnType<typeof err> {
  const [limitMb, tookMb] = [memoryBytes, peakBytes].map((bytes) => Math.round(bytes / 2 ** 20));
  return err("CHILD_MEMORY_EXCEEDED", { limitMb, tookMb });
}

function environment(memoryBytes: number): NodeJS.ProcessEnv {
  const heapMb = Math.max(64, Math.round(memoryBytes / 2 ** 20 / 2));
  const kept = ENVIRONMENT.map((name) => [name, process.env[name]] as const).filter(([, value]) => value !== undefined);
  return {
    ...Object.fromEntries(kept),
    NODE_OPTIONS: `--max-old-space-size=${heapMb}`,
    ORT_DISABLE_TELEMETRY: "1",
  };
}

function lowerPriority(pid: number): void {
  try {
    setPriority(pid, constants.priority.PRIORITY_BELOW_NORMAL);
  } catch {
    // It has ended, or this system does not let us: only politeness is lost.
    return;
  }
}
