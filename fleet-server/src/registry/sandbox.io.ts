import { askLimitedChild, type ChildLimits } from "@bellwether/protocol/process/limited-child.io.ts";
import type { RoleSpawner } from "@bellwether/protocol/process/roles.io.ts";
import { ok, type Result } from "@bellwether/protocol/result.ts";
import type { ValidationReport } from "../store/registry.ts";
import type { Drafted, DraftTask, Inspection } from "./draft.io.ts";
import type { Findings, PackageFiles } from "./validation.io.ts";

export type SandboxRole = "sandbox";

/** One task of the child, with the memory it has for it. */
export type SandboxTask = Task & { readonly memoryBytes: number };
type Task =
  | { readonly kind: "validate"; readonly files: PackageFiles }
  | { readonly kind: "inspect"; readonly modelFile: string; readonly historyFile?: string }
  | { readonly kind: "draft"; readonly task: DraftTask };

/** What a model may take on its maker's own machine, where a long history is read as well. */
export const DRAFT_LIMITS: ChildLimits = {
  memoryBytes: 3 * 1024 * 1024 * 1024,
  cpuMs: 1_800_000,
  wallMs: 3_600_000,
};

/** What a model may take while the server tries it. Where others keep the processor busy, 12 s of it may take minutes. */
export const SANDBOX_LIMITS: ChildLimits = { memoryBytes: 1024 * 1024 * 1024, cpuMs: 12_000, wallMs: 600_000 };

/** Runs strangers' models in children of their own. */
export interface Sandbox {
  /** Validates a package; every refusal and every way to die has its code. */
  validate(files: PackageFiles, signal?: AbortSignal): Promise<Result<ValidationReport>>;
  /** What a model and a history say of themselves, without running anything. */
  inspect(modelFile: string, historyFile?: string, signal?: AbortSignal): Promise<Result<Inspection>>;
  /** Drafts a package into a folder. */
  draft(task: DraftTask, signal?: AbortSignal): Promise<Result<Drafted>>;
}

/** A sandbox whose children are started by `spawner`. */
export function createSandbox(
  spawner: Pick<RoleSpawner<SandboxRole>, "child">,
  limits: ChildLimits = SANDBOX_LIMITS,
): Sandbox {
  const ask = <T>(task: Task, signal?: AbortSignal) =>
    askLimitedChild<Result<T>>(
      (options) => spawner.child("sandbox", [], options),
      { ...task, memoryBytes: limits.memoryBytes },
      limits,
      signal,
    );
  return {
    async validate(files, signal) {
      const asked = await ask<Findings>({ kind: "validate", files }, signal);
      if (!asked.ok) return asked;
      const { answer, peakBytes, wallMs } = asked.value;
      return answer.ok ? ok({ ...answer.value, peakBytes, wallMs: Math.round(wallMs) }) : answer;
    },
    async inspect(modelFile, historyFile, signal) {
      const history = historyFile === undefined ? {} : { historyFile };
      const asked = await ask<Inspection>({ kind: "inspect", modelFile, ...history }, signal);
      return asked.ok ? asked.value.answer : asked;
    },
    async draft(task, signal) {
      const asked = await ask<Drafted>({ kind: "draft", task }, signal);
      return asked.ok ? asked.value.answer : asked;
    },
  };
}
