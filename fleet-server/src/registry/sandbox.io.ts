import { askLimitedChild, type ChildLimits } from "@bellwether/protocol/process/limited-child.io.ts";
import type { RoleSpawner } from "@bellwether/protocol/process/roles.io.ts";
import { ok, type Result } from "@bellwether/protocol/result.ts";
import type { ValidationReport } from "../store/registry.ts";
import type { Findings, PackageFiles } from "./validation.io.ts";

export type SandboxRole = "sandbox";

/** One task of the child, with the memory it has for it. */
export type SandboxTask = { readonly kind: "validate"; readonly files: PackageFiles; readonly memoryBytes: number };
type Task = SandboxTask extends infer T ? (T extends SandboxTask ? Omit<T, "memoryBytes"> : never) : never;

/** What a model may take while the server tries it. */
export const SANDBOX_LIMITS: ChildLimits = { memoryBytes: 1024 * 1024 * 1024, wallMs: 25_000 };

/** Runs strangers' models in children of their own. */
export interface Sandbox {
  /** Validates a package; every refusal and every way to die has its code. */
  validate(files: PackageFiles, signal?: AbortSignal): Promise<Result<ValidationReport>>;
}

/** A sandbox whose children are started by `spawner`. */
export function createSandbox(spawner: RoleSpawner<SandboxRole>, limits: ChildLimits = SANDBOX_LIMITS): Sandbox {
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
  };
}
