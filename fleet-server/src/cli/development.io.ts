import type { RoleSpawner } from "@bellwether/protocol/process/roles.io.ts";
import { type Result, unwrap } from "@bellwether/protocol/result.ts";
import { type FirstMetadata, firstMetadata, type OnlinePublicKeys } from "../registry/ceremony.ts";
import { failure } from "./failure.ts";
import { keepRoot, makeKey } from "./key-folder.io.ts";

/** A server's release repository before it serves: its online keys, and where the first metadata are laid. */
export interface EmptyRepository {
  hasRoot(): Promise<boolean>;
  /** The public halves of its online keys, made where it has none. */
  online(): Promise<OnlinePublicKeys>;
  /** Makes one more key of a role. */
  addOnlineKey(role: keyof OnlinePublicKeys): Promise<void>;
  layFirst(first: FirstMetadata): Promise<Result<void>>;
}

/**
 * Makes development keys of the offline roles in `keysDir` and has them sign the first metadata of a repository; false
 * where there are metadata already. It is run before a server starts, and never by one.
 */
export async function makeDevelopmentKeys(
  repository: EmptyRepository,
  keysDir: string,
  nowMs: number,
): Promise<boolean> {
  if (await repository.hasRoot()) return false;
  const online = await repository.online();
  const make = async (role: "root" | "targets") => (await makeKey(keysDir, role, undefined)).pair;
  const root = [await make("root"), await make("root"), await make("root")];
  const targets = [await make("targets")];
  const rules = { rootThreshold: 2, targetsThreshold: 1, development: true };
  const first = firstMetadata({ root, targets, online, ...rules }, nowMs);
  await keepRoot(keysDir, first.root);
  unwrap(await repository.layFirst(first));
  return true;
}

/** What the child that makes the keys answers. */
export type DevelopmentKeysMade = { readonly made: boolean } | { readonly unusable: string; readonly reason: string };

/** The child's part: its arguments are the data directory and the folder of the keys. */
export async function runDevelopmentKeys(repositoryOf: (dataDir: string) => EmptyRepository): Promise<void> {
  const [dataDir, keysDir] = process.argv.slice(3) as [string, string];
  const answer: DevelopmentKeysMade = await makeDevelopmentKeys(repositoryOf(dataDir), keysDir, Date.now()).then(
    (made) => ({ made }),
    (cause: NodeJS.ErrnoException) => {
      if (cause.path === undefined) throw cause;
      return { unusable: cause.path, reason: cause.code ?? cause.message };
    },
  );
  process.send?.(answer, () => process.disconnect());
}

/** Has a child make development keys for a data directory; the asking process never sees them. */
export function developmentKeysMaker(spawner: Pick<RoleSpawner<"development-keys">, "child">) {
  return (dataDir: string, keysDir: string): Promise<boolean> =>
    new Promise((resolve, reject) => {
      const child = spawner.child("development-keys", [dataDir, keysDir], {
        stdio: ["ignore", "inherit", "inherit", "ipc"],
      });
      let answer: DevelopmentKeysMade | undefined;
      child.once("message", (said) => {
        answer = said as DevelopmentKeysMade;
      });
      child.once("error", reject);
      child.once("close", (code) => {
        if (answer === undefined) reject(new Error(`making development keys ended with ${code}`));
        else if ("made" in answer) resolve(answer.made);
        else reject(failure("FILE_UNREADABLE", { file: answer.unusable, reason: answer.reason }));
      });
    });
}
