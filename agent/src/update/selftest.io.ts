import type { Problem } from "@bellwether/protocol/errors.ts";
import type { RoleSpawner } from "@bellwether/protocol/process/roles.io.ts";
import { usageOf } from "@bellwether/protocol/process/usage.io.ts";
import { err, ok, type Result } from "@bellwether/protocol/result.ts";
import type { SelfTestFindings } from "./machine.ts";

/** What a self-test may take; a model that takes more is refused with the child, not with the agent. */
export interface SelfTestLimits {
  /** Processor time of the child: what a model needs, however busy the machine is. */
  readonly cpuMs: number;
  /** Beyond this it is ended, and `SELF_TEST_STARVED` says that nothing is known of the model. */
  readonly wallMs: number;
  /** Resident memory of the child beyond what the agent's own code needs, in bytes. */
  readonly memoryBytes: number;
}

export type SelfTestAnswer =
  | { readonly ok: true; readonly findings: SelfTestFindings }
  | { readonly ok: false; readonly problem: Problem };

/** What Node with ONNX Runtime needs before any model is loaded, measured generously. */
const BASE_BYTES = 220 * 1024 * 1024;
const WATCH_EVERY_MS = 50;

/** Loads a slot and runs its golden vectors in a child process: a hang, a crash or a flood of memory stays there. The child ends with this process, too. */
export function selfTest(
  spawner: RoleSpawner<"selftest">,
  slotDir: string,
  limits: SelfTestLimits,
  signal: AbortSignal,
): Promise<Result<SelfTestFindings>> {
  return new Promise((resolve) => {
    const child = spawner.child("selftest", [slotDir, String(process.pid)], {
      stdio: ["ignore", "ignore", "ignore", "ipc"],
      // The watch below comes first, and a thread of the child that ends it with this process; the kernel holds this anyway.
      ulimits: { cpuSeconds: Math.ceil(limits.cpuMs / 1_000) + 2 },
    });
    const end = (result: Result<SelfTestFindings>) => {
      clearTimeout(wall);
      clearInterval(watch);
      signal.removeEventListener("abort", giveUp);
      child.removeAllListeners();
      child.on("error", () => undefined);
      child.kill("SIGKILL");
      resolve(result);
    };
    const fail = (reason: string) => end(err("SELF_TEST_FAILED", { reason }));
    const giveUp = () => fail("it was given up");
    const wall = setTimeout(() => {
      const { cpuMs } = usageOf(child.pid);
      end(err("SELF_TEST_STARVED", { wallMs: limits.wallMs, cpuMs: Math.round(cpuMs) }));
    }, limits.wallMs);
    const watch = setInterval(() => {
      const { residentBytes, cpuMs } = usageOf(child.pid);
      if (residentBytes > BASE_BYTES + limits.memoryBytes) {
        fail(`it needed more than ${limits.memoryBytes} bytes of memory`);
      } else if (cpuMs > limits.cpuMs) fail(`it computed for longer than ${limits.cpuMs} ms`);
    }, WATCH_EVERY_MS);
    signal.addEventListener("abort", giveUp, { once: true });
    child.once("message", (answer) => {
      const said = answer as SelfTestAnswer;
      end(said.ok ? ok(said.findings) : { ok: false, error: said.problem });
    });
    child.once("error", (cause) => fail(cause.message));
    child.once("exit", (code, killedBy) => fail(`it ended by ${killedBy ?? `code ${code}`}`));
  });
}
