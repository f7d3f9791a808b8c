import { createHash } from "node:crypto";
import { readFileSync, statSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { type Manifest, manifestShape } from "@bellwether/protocol/package/manifest.ts";
import { err, ok, type Result } from "@bellwether/protocol/result.ts";
import type { DownloadRequest } from "./download.io.ts";
import type { Target } from "./machine.ts";
import type { Slots } from "./slots.io.ts";
import type { UpdateSource } from "./source.io.ts";

const MANIFEST_BYTES_MAX = 16 * 1024 * 1024;

/** The files of a slot by their member in the manifest. */
const FILES = { model: "model.onnx", golden: "golden.json", reference: "reference.json", card: "card.json" } as const;

export interface InstallPorts extends UpdateSource {
  readonly slots: Slots;
  readonly download: (request: DownloadRequest) => Promise<Result<void>>;
  /** Whether a package fits this device; its codes mean REJECTED. */
  compatible(manifest: Manifest): Result<void>;
}

/** A step's failure with what the machine needs to know of it. */
export type InstallResult =
  | { readonly ok: true }
  | {
      readonly ok: false;
      readonly error: Extract<Result<never>, { ok: false }>["error"];
      readonly again: boolean;
      readonly rejected: boolean;
    };

/** Downloads a target's manifest and files into its partial folder. Nothing there is trusted before `verifyPackage`. */
export async function downloadPackage(
  ports: InstallPorts,
  target: Target,
  signal: AbortSignal,
  onProgress: (fraction: number) => void,
): Promise<InstallResult> {
  const folder = ports.slots.partialOf(target.model, target.manifestDigest);
  const get = async (
    name: string,
    digest: string,
    length: number,
    before: number,
    total: number,
  ): Promise<InstallResult> => {
    const token = await ports.token();
    // Whatever kept the device from logging in says nothing of the release: a line, a proxy, a server that is set up anew.
    if (!token.ok) return { ...failed(token.error), again: true };
    const done = await ports.download({
      url: new URL(`v1/blobs/${digest}`, withSlash(ports.serverUrl)).href,
      token: token.value,
      transport: ports.transport(),
      file: join(folder, name),
      what: `${name} of ${target.model} ${target.version}`,
      digest,
      length,
      maxBytesPerSecond: ports.maxBytesPerSecond,
      signal,
      onProgress: (bytes) => onProgress((before + bytes) / total),
    });
    return done.ok ? done : failed(done.error);
  };
  const manifestLength = target.manifestLength;
  const first = await get("manifest.json", target.manifestDigest, manifestLength, 0, manifestLength * 1_000);
  if (!first.ok) return first;
  const manifest = readManifest(folder, target);
  if (!manifest.ok) return failed(manifest.error);
  const fits = ports.compatible(manifest.value);
  if (!fits.ok) return { ...failed(fits.error), rejected: true };
  const files = Object.entries(manifest.value.files);
  const total = files.reduce((sum, [, file]) => sum + file.length, manifestLength);
  // What an earlier try left takes its room already.
  const names = ["manifest.json", ...Object.values(FILES)];
  const present = names.reduce((sum, name) => sum + sizeOf(join(folder, name)), 0);
  const room = ports.slots.preflight(Math.max(0, total - present));
  if (!room.ok) return failed(room.error);
  let before = manifestLength;
  for (const [member, file] of files) {
    const done = await get(FILES[member as keyof typeof FILES], file.digest, file.length, before, total);
    if (!done.ok) return done;
    before += file.length;
  }
  return { ok: true };
}

/**
 * Checks every byte of a download against the signed digests once more, from the disk, and makes it a slot. The right
 * bytes were downloaded: wrong ones now are the disk's doing, and the next try fetches them anew.
 */
export function verifyPackage(slots: Slots, target: Target): InstallResult {
  const verified = verifyFiles(slots.partialOf(target.model, target.manifestDigest), target);
  if (verified.ok) slots.promote(target.model, target.manifestDigest);
  return verified.ok ? verified : { ...verified, again: verified.again || verified.error.code === "DIGEST_MISMATCH" };
}

/** Whether a target is a slot already, with every byte that was verified once; a slot that rotted is removed. */
export function isInstalled(slots: Slots, target: Target): boolean {
  const { model, manifestDigest } = target;
  if (!slots.has(model, manifestDigest)) return false;
  if (verifyFiles(slots.pathOf(model, manifestDigest), target).ok) return true;
  slots.discard(model, manifestDigest);
  return false;
}

function verifyFiles(folder: string, target: Target): InstallResult {
  const manifest = readManifest(folder, target);
  if (!manifest.ok) return failed(manifest.error);
  for (const [member, file] of Object.entries(manifest.value.files)) {
    const name = FILES[member as keyof typeof FILES];
    const actual = digestOf(join(folder, name));
    if (!actual.ok) return failed(actual.error);
    if (actual.value !== file.digest)
      return failed(err("DIGEST_MISMATCH", { what: name, actual: actual.value, expected: file.digest }).error);
  }
  return { ok: true };
}

/** The manifest of a folder, when it is the very one the director named and speaks of this model and version. */
export function readManifest(
  folder: string,
  target: Pick<Target, "model" | "version" | "manifestDigest">,
): Result<Manifest> {
  const path = join(folder, "manifest.json");
  const actual = digestOf(path);
  if (!actual.ok) return actual;
  if (actual.value !== target.manifestDigest) {
    return err("DIGEST_MISMATCH", { what: "manifest.json", actual: actual.value, expected: target.manifestDigest });
  }
  const manifest = manifestShape.parse(readFileSync(path), MANIFEST_BYTES_MAX);
  if (!manifest.ok) return manifest;
  const { model, version } = manifest.value;
  if (model !== target.model || version !== target.version) {
    return err("NOT_IN_TARGETS", {
      model: target.model,
      version: target.version,
      member: `manifest of ${model} ${version}`,
    });
  }
  return manifest;
}

function sizeOf(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0;
}

function digestOf(path: string): Result<string> {
  try {
    return ok(`sha256:${createHash("sha256").update(readFileSync(path)).digest("hex")}`);
  } catch (cause) {
    const reason = (cause as NodeJS.ErrnoException).code ?? "unreadable";
    return err("SLOT_UNREADABLE", { slot: dirname(path), file: basename(path), reason });
  }
}

/** Only what the network did may be tried again; wrong bytes stay wrong. */
function failed(error: Extract<Result<never>, { ok: false }>["error"]) {
  const again = error.code === "DOWNLOAD_FAILED" || error.code === "DISK_TOO_FULL";
  return { ok: false as const, error, again, rejected: false };
}

function withSlash(url: string): string {
  return url.endsWith("/") ? url : `${url}/`;
}
