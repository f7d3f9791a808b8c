import { existsSync } from "node:fs";
import { join } from "node:path";
import type { ReportedModel } from "@bellwether/protocol/messages/device.ts";
import { digestOf } from "@bellwether/protocol/package/check.ts";
import type { Bellwether } from "./bellwether.ts";
import { cli } from "./cli.ts";
import { eventually } from "./eventually.ts";
import type { TestFleet } from "./fleet.ts";
import { referencesOf, type TestPackage, testPackage } from "./packages.ts";

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

/** The same to a server that was started by the other kit. */
export async function uploadTo(
  { call }: Pick<Bellwether, "call">,
  { manifest, files }: TestPackage,
): Promise<Uploaded> {
  const headers = { "content-type": "application/octet-stream" };
  for (const bytes of Object.values(files)) await call(`PUT /v1/blobs/${digestOf(bytes)}`, bytes, { headers });
  const uploaded = { manifest: { ...manifest, files: referencesOf(files) } };
  return (await call(`POST /v1/models/${manifest.model}/versions`, uploaded)).body;
}

/** A server whose data directory is on this machine, as `up` leaves it: with its development keys beside it. */
export interface OwnServer {
  readonly url: string;
  readonly dir: string;
  /** The CA of a certificate that is not its own. */
  readonly caFile?: string | undefined;
}

/** Runs a command as the administrator and owner of the keys would; throws what is no success. */
export async function asOwner({ url, dir, caFile }: OwnServer, ...args: string[]): Promise<string> {
  const ca = caFile ?? join(dir, "tls/ca.crt");
  const pinned = existsSync(ca) ? { BELLWETHER_CA: ca } : {};
  const env = { BELLWETHER_URL: url, BELLWETHER_TOKEN_FILE: join(dir, "admin.token"), ...pinned };
  const { exitCode, stdout, stderr } = await cli(args, env);
  if (exitCode !== 0) throw new Error(`${args.join(" ")}: ${stderr}`);
  return stdout;
}

/** Has a version signed by the server's development keys, and publishes it to every device. */
export async function releaseVersion(server: OwnServer, model: string, version: number): Promise<void> {
  await asOwner(server, "models", "release", model, String(version));
}

/** Uploads a package, and releases the version it became. */
export async function releasePackage(fleet: TestFleet, one: TestPackage): Promise<Uploaded> {
  const { version, manifestDigest } = await uploadPackage(fleet, one);
  await releaseVersion(fleet, one.manifest.model, version);
  return { version, manifestDigest };
}

/** Releases a model, rolls it out, and waits until the device has proved it: metadata and blobs came over HTTP. */
export async function updateDevice(fleet: TestFleet, device: string, one = testPackage()): Promise<void> {
  const { version } = await releasePackage(fleet, one);
  const { id } = await fleet.call("POST /v1/rollouts", {
    model: "pump-rul",
    version: String(version),
    target: { selector: "" },
    waves: [{ name: "all", targetPercentage: 100, soakMinutes: 0, errorAction: "PAUSE" }],
    confirm: { inferences: 20, soakSeconds: 1, deadlineSeconds: 60, errorFraction: 0.1 },
  });
  await fleet.call(`POST /v1/rollouts/${id}/start`);
  await eventually(
    "the model is confirmed",
    async () => {
      const { models } = (await fleet.call(`GET /v1/devices/${device}`)) as { models: ReportedModel[] };
      return models.some(({ outcome }) => outcome === "succeeded");
    },
    60_000,
    200,
  );
}
