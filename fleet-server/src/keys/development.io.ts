import { access } from "node:fs/promises";
import { join } from "node:path";
import type { RoleSpawner } from "@bellwether/protocol/process/roles.io.ts";
import { writeDurably } from "../files.io.ts";
import type { OnlineKeys } from "../registry/acceptance.ts";
import { openOnlineKeys } from "../registry/online-keys.io.ts";
import { type FirstMetadata, firstMetadata, type OnlinePublicKeys } from "./ceremony.ts";
import { keepRoot, makeKey } from "./key-folder.io.ts";

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

/** Lays the first root and targets where the server finds them; the root last, for it says that all is there. */
export async function layFirst(repositoryDir: string, { root, targets }: FirstMetadata): Promise<void> {
  await writeDurably(metadataFile(repositoryDir, 1, "targets"), targets, 0o644);
  await writeDurably(metadataFile(repositoryDir, 1, "root"), root, 0o644);
}

function metadataFile(repositoryDir: string, version: number, role: string): string {
  return join(repositoryDir, "metadata", `${version}.${role}.json`);
}

/** The public halves of a server's keys. */
export function publicHalves(keys: OnlineKeys): OnlinePublicKeys {
  const halves = (pairs: OnlineKeys["director"]) => pairs.map(({ publicKey }) => publicKey);
  return { snapshot: halves(keys.snapshot), timestamp: halves(keys.timestamp), director: halves(keys.director) };
}

/**
 * Makes development keys of the offline roles in `keysDir` and has them sign the first metadata of `repositoryDir`; false
 * where there are metadata already. It is run before a server starts, and never by one.
 */
export async function makeDevelopmentKeys(repositoryDir: string, keysDir: string, nowMs: number): Promise<boolean> {
  if (await hasRoot(repositoryDir)) return false;
  const online = publicHalves(await openOnlineKeys(repositoryDir));
  const make = async (role: "root" | "targets") => (await makeKey(keysDir, role, undefined)).pair;
  const root = [await make("root"), await make("root"), await make("root")];
  const targets = [await make("targets")];
  const rules = { rootThreshold: 2, targetsThreshold: 1, development: true };
  const first = firstMetadata({ root, targets, online, ...rules }, nowMs);
  await keepRoot(keysDir, first.root);
  await layFirst(repositoryDir, first);
  return true;
}

/** What the child that makes the keys answers. */
export interface DevelopmentKeysMade {
  readonly made: boolean;
}

/** Has a child make development keys for a data directory; the asking process never sees them. */
export function developmentKeysMaker(spawner: Pick<RoleSpawner<"development-keys">, "child">) {
  return (dataDir: string, keysDir: string): Promise<boolean> =>
    new Promise((resolve, reject) => {
      const child = spawner.child("development-keys", [dataDir, keysDir], {
        stdio: ["ignore", "inherit", "inherit", "ipc"],
      });
      let made: boolean | undefined;
      child.once("message", (answer) => {
        made = (answer as DevelopmentKeysMade).made;
      });
      child.once("error", reject);
      child.once("close", (code) => {
        if (made === undefined) reject(new Error(`making development keys ended with ${code}`));
        else resolve(made);
      });
    });
}
