import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { err, ok, type Result } from "@bellwether/protocol/result.ts";
import { pinned, VerifiedModel } from "./verified-model.ts";

/** Reads and verifies a slot; every session begins with it, also after every start. */
export async function verifySlot(slotDir: string): Promise<Result<VerifiedModel>> {
  const manifest = await readSlotFile(slotDir, "manifest.json");
  if (!manifest.ok) return manifest;
  return VerifiedModel.verify(slotDir, { manifest: manifest.value, read: (file) => readSlotFile(slotDir, file) });
}

/** The golden vectors of a verified model, verified too. */
export async function readGolden({ slotDir, manifest }: VerifiedModel): Promise<Result<Buffer>> {
  return pinned(slotDir, "golden.json", await readSlotFile(slotDir, "golden.json"), manifest.files.golden.digest);
}

async function readSlotFile(slotDir: string, file: string): Promise<Result<Buffer>> {
  try {
    return ok(await readFile(join(slotDir, file)));
  } catch (cause) {
    const reason = (cause as NodeJS.ErrnoException).code ?? String(cause);
    return err("SLOT_UNREADABLE", { slot: slotDir, file, reason });
  }
}
