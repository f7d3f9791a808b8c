import { err, type Result } from "@bellwether/protocol/result.ts";
import type { SandboxTask } from "./sandbox.io.ts";

/** What the child does that is started in the role "sandbox": one task, one answer, gone. */
export function runSandbox(): void {
  process.once("message", (task: SandboxTask) => {
    void answer(task).then((outcome) => process.send?.(outcome, () => process.exit(0)));
  });
}

async function answer(task: SandboxTask): Promise<Result<unknown>> {
  const outcome = await perform(task).catch((cause: Error) =>
    err("CHILD_DIED", { reason: cause.message.slice(0, 300) }),
  );
  // An allocation that the child's limits refused ends a load or a run with the runtime's words for it.
  const reason = outcome.ok ? "" : String(outcome.error.detail["reason"] ?? "");
  if (!/[Ff]ailed to allocate memory|bad_alloc|[Aa]rray buffer allocation failed/.test(reason)) return outcome;
  return err("CHILD_MEMORY_EXCEEDED", { limitMb: Math.round(task.memoryBytes / 2 ** 20) });
}

async function perform(task: SandboxTask): Promise<Result<unknown>> {
  if (task.kind === "validate") return (await import("./validation.io.ts")).validatePackage(task.files);
  const { draftPackage, inspectModel } = await import("./draft.io.ts");
  return task.kind === "inspect" ? inspectModel(task.modelFile, task.historyFile) : draftPackage(task.task);
}
