import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Problem } from "@bellwether/protocol/errors.ts";
import { parseGolden, runGolden } from "@bellwether/protocol/package/golden.ts";
import { err, type Result } from "@bellwether/protocol/result.ts";
import { openSession } from "./session.io.ts";

/**
 * Role "selftest", a child process: loads a slot and holds it against its golden vectors, at the batch sizes it will be
 * run at. Whatever the model does to this process stays in it.
 */
export async function runSelfTest(slotDir: string): Promise<void> {
  const tested = await test(slotDir);
  const answer: { ok: true } | { ok: false; problem: Problem } = tested.ok
    ? { ok: true }
    : { ok: false, problem: tested.error };
  process.send?.(answer, () => process.disconnect());
}

async function test(slotDir: string): Promise<Result<unknown>> {
  const session = await openSession(slotDir);
  if (!session.ok) return session;
  let bytes: Buffer;
  try {
    bytes = await readFile(join(slotDir, "golden.json"));
  } catch (cause) {
    const reason = (cause as NodeJS.ErrnoException).code ?? String(cause);
    return err("SLOT_UNREADABLE", { slot: slotDir, file: "golden.json", reason });
  }
  const golden = parseGolden(bytes, session.value.manifest);
  return golden.ok ? runGolden(session.value.manifest, golden.value, session.value.run) : golden;
}
