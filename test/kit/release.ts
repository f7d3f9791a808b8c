import { digestOf } from "@bellwether/protocol/package/check.ts";
import type { TestFleet } from "./fleet.ts";
import { referencesOf, type TestPackage } from "./packages.ts";

/** Uploads a package's files and manifest, and releases the version it became. */
export async function releasePackage(
  fleet: TestFleet,
  { manifest, files }: TestPackage,
): Promise<{ readonly version: number; readonly manifestDigest: string }> {
  for (const bytes of Object.values(files)) await fleet.putBlob(digestOf(bytes), bytes);
  const { model } = manifest;
  const { version, manifestDigest } = await fleet.call(`POST /v1/models/${model}/versions`, {
    manifest: { ...manifest, files: referencesOf(files) },
  });
  await fleet.call(`POST /v1/models/${model}/versions/${version}/release`);
  return { version, manifestDigest };
}
