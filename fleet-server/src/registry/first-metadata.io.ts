import { access } from "node:fs/promises";
import { join } from "node:path";
import { ok, type Result } from "@bellwether/protocol/result.ts";
import { writeDurably } from "../files.io.ts";
import { accepted, type OnlineKeys } from "./acceptance.ts";
import type { FirstMetadata, OnlinePublicKeys } from "./ceremony.ts";
import { addOnlineKey, type OnlineKeyRole, openOnlineKeys } from "./online-keys.io.ts";

/** Folder of the release repository below a server's data directory. */
export function repositoryIn(dataDir: string): string {
  return join(dataDir, "repository");
}

/** Whether somebody has laid a first root there. */
export function hasRoot(repositoryDir: string): Promise<boolean> {
  return access(metadataFile(repositoryDir, 1, "root")).then(
    () => true,
    () => false,
  );
}

/**
 * Lays the first root and targets where the server finds them, if it could serve them; the root last, for it says that
 * all is there.
 */
export async function layFirst(
  repositoryDir: string,
  { root, targets }: FirstMetadata,
  nowMs: number,
): Promise<Result<void>> {
  const judged = accepted({}, { roots: [root], targets }, await openOnlineKeys(repositoryDir), nowMs);
  if (!judged.ok) return judged;
  await writeDurably(metadataFile(repositoryDir, 1, "targets"), targets, 0o644);
  await writeDurably(metadataFile(repositoryDir, 1, "root"), root, 0o644);
  return ok(undefined);
}

function metadataFile(repositoryDir: string, version: number, role: string): string {
  return join(repositoryDir, "metadata", `${version}.${role}.json`);
}

/** The public halves of a server's keys. */
export function publicHalves(keys: OnlineKeys): OnlinePublicKeys {
  const halves = (pairs: OnlineKeys["director"]) => pairs.map(({ publicKey }) => publicKey);
  return { snapshot: halves(keys.snapshot), timestamp: halves(keys.timestamp), director: halves(keys.director) };
}

/** The repository below a data directory, for those who make its first metadata. */
export function emptyRepository(repositoryDir: string, now: () => number = Date.now) {
  return {
    hasRoot: () => hasRoot(repositoryDir),
    online: async () => publicHalves(await openOnlineKeys(repositoryDir)),
    addOnlineKey: (role: OnlineKeyRole) => addOnlineKey(repositoryDir, role),
    layFirst: (first: FirstMetadata) => layFirst(repositoryDir, first, now()),
  };
}
