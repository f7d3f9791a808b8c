import { createHash } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Manifest } from "@bellwether/protocol/package/manifest.ts";
import { referenceProfile } from "@bellwether/protocol/reference/profile.ts";
import { canonicalBytes } from "@bellwether/protocol/trust/canonical.ts";
import { testManifest } from "./models.ts";

const pin = (bytes: Uint8Array) => ({
  digest: `sha256:${createHash("sha256").update(bytes).digest("hex")}`,
  length: bytes.byteLength,
});

/** Writes a slot, named by its digest, into a model's folder as the updater leaves it; `changes` go into `testManifest`. */
export function writeSlot(
  folder: string,
  model: Uint8Array,
  changes: Partial<Manifest> = {},
  reference: unknown = referenceProfile(
    ["x.last"],
    [-1, 0, 1].map((x) => Float64Array.of(x)),
  ),
  golden: Uint8Array = canonicalBytes({ v: 1, cases: [], outputs: [] }),
): { slotDir: string; digest: string; manifest: Manifest } {
  const referenceBytes = canonicalBytes(reference);
  const files = { model: pin(model), golden: pin(golden), reference: pin(referenceBytes) };
  const manifest = testManifest({ files, ...changes });
  const bytes = canonicalBytes(manifest);
  const { digest } = pin(bytes);
  const slotDir = join(folder, digest.replace("sha256:", ""));
  mkdirSync(slotDir, { recursive: true });
  writeFileSync(join(slotDir, "manifest.json"), bytes);
  writeFileSync(join(slotDir, "model.onnx"), model);
  writeFileSync(join(slotDir, "golden.json"), golden);
  writeFileSync(join(slotDir, "reference.json"), referenceBytes);
  return { slotDir, digest, manifest };
}
