import { basename } from "node:path";
import { digestOf, parseManifest } from "@bellwether/protocol/package/check.ts";
import type { Manifest } from "@bellwether/protocol/package/manifest.ts";
import { parseReference, type ReferenceProfile } from "@bellwether/protocol/reference/profile.ts";
import { err, ok, type Result } from "@bellwether/protocol/result.ts";

/** A slot's files as they were read, before anything is known of them. */
export interface SlotBytes {
  readonly manifest: Uint8Array;
  /** Reads `model.onnx` or `reference.json`; asked for only what the verified manifest names. */
  read(file: string): Promise<Result<Uint8Array>>;
}

/**
 * The bytes of a model that were hashed against the digest of its slot: the only thing a session is made from. Nothing
 * but `verify` can make one, neither by a cast nor by looking alike: `take` reads a private field.
 */
export class VerifiedModel {
  readonly slotDir: string;
  /** SHA-256 of the manifest's bytes: what inference records name. */
  readonly digest: string;
  readonly manifest: Manifest;
  readonly reference: ReferenceProfile;
  #model: Uint8Array | undefined;

  private constructor(
    slotDir: string,
    digest: string,
    manifest: Manifest,
    reference: ReferenceProfile,
    model: Uint8Array,
  ) {
    this.slotDir = slotDir;
    this.digest = digest;
    this.manifest = manifest;
    this.reference = reference;
    this.#model = model;
  }

  /**
   * Verifies what a slot's folder holds now: the manifest against the folder's own name, the model and its reference
   * against the manifest. `SLOT_CHANGED` where something is not what was verified when it was installed.
   */
  static async verify(slotDir: string, { manifest: bytes, read }: SlotBytes): Promise<Result<VerifiedModel>> {
    const digest = digestOf(bytes);
    const expected = digestOfSlot(slotDir);
    if (digest !== expected) {
      return err("SLOT_CHANGED", { file: "manifest.json", slot: slotDir, actual: digest, expected });
    }
    const manifest = parseManifest(bytes);
    if (!manifest.ok) return manifest;
    const { files } = manifest.value;
    const model = pinned(slotDir, "model.onnx", await read("model.onnx"), files.model.digest);
    if (!model.ok) return model;
    const referenceBytes = pinned(slotDir, "reference.json", await read("reference.json"), files.reference.digest);
    if (!referenceBytes.ok) return referenceBytes;
    const reference = parseReference(referenceBytes.value);
    if (!reference.ok) return reference;
    return ok(new VerifiedModel(slotDir, digest, manifest.value, reference.value, model.value));
  }

  /**
   * The very bytes that were hashed, given away once: the runtime keeps a copy of its own, and a model of 20 MB need not
   * lie in memory a second time. Throws for anything that `verify` did not make, and the second time.
   */
  static take(verified: VerifiedModel): Uint8Array {
    const model = verified.#model;
    if (model === undefined) throw new Error("a verified model makes one session");
    verified.#model = undefined;
    return model;
  }
}

/** Bytes of a slot's file, where they have the digest that the verified manifest says. */
export function pinned<T extends Uint8Array>(
  slotDir: string,
  file: string,
  bytes: Result<T>,
  expected: string,
): Result<T> {
  if (!bytes.ok) return bytes;
  const actual = digestOf(bytes.value);
  return actual === expected ? bytes : err("SLOT_CHANGED", { file, slot: slotDir, actual, expected });
}

/** The digest a slot's folder is named by: `slots/{model}/{manifest digest in hex}`. */
export function digestOfSlot(slotDir: string): string {
  return `sha256:${basename(slotDir)}`;
}
