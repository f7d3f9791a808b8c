import { digestOf } from "@bellwether/protocol/package/check.ts";
import type { TestFleet } from "./fleet.ts";
import { referencesOf, type TestPackage } from "./packages.ts";

interface Uploaded {
  readonly version: number;
  readonly manifestDigest: string;
}

/** Uploads a package's files and manifest; the version it became is not released. */
export async function uploadPackage(fleet: TestFleet, { manifest, files }: TestPackage): Promise<Uploaded> {
  for (const bytes of Object.values(files)) await fleet.putBlob(digestOf(bytes), bytes);
  const { model } = manifest;
  return fleet.call(`POST /v1/models/${model}/versions`, { manifest: { ...manifest, files: referencesOf(files) } });
}

/** Uploads a package, and releases the version it became. */
export async function releasePackage(fleet: TestFleet, one: TestPackage): Promise<Uploaded> {
  const { version, manifestDigest } = await uploadPackage(fleet, one);
  const { model } = one.manifest;
  await fleet.call(`POST /v1/models/${model}/versions/${version}/release`);
  return { version, manifestDigest };
}
