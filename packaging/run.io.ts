import { execFileSync } from "node:child_process";
import { resolve } from "node:path";

/** The checkout this file lies in. */
export const ROOT = resolve(import.meta.dirname, "..");

/** Runs a tool to its end and gives what it printed; throws with what it said when it fails or is not there. */
export function runTool(
  tool: string,
  args: readonly string[],
  options: { cwd?: string; env?: NodeJS.ProcessEnv } = {},
) {
  try {
    return execFileSync(tool, args, { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"], ...options });
  } catch (cause) {
    const { code, stderr } = cause as NodeJS.ErrnoException & { stderr?: string };
    const reason = code === "ENOENT" ? "it is not installed" : (stderr ?? String(cause));
    throw new Error(`${tool}: ${reason.trim()}`, { cause });
  }
}
