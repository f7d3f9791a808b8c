import { join } from "node:path";
import type { RoleSpawner } from "@bellwether/protocol/process/roles.io.ts";
import type { Result } from "@bellwether/protocol/result.ts";
import { createTokens } from "./governance/governance.io.ts";
import { type BackupIndex, makeBackup } from "./recovery/backup.io.ts";
import { journalBeside } from "./recovery/journal.io.ts";
import { restoreBackup } from "./recovery/restore.io.ts";
import type { RestoreReport } from "./recovery/restored.ts";
import { repositoryIn } from "./registry/first-metadata.io.ts";
import { openRepository } from "./registry/repository.io.ts";
import { complaintOf, snapshotStore } from "./store/sqlite/snapshot.io.ts";
import { openStore, type StoreRole } from "./store/sqlite/store.io.ts";

/** Backs a server's data directory up, whether it runs or not. */
export function backup({ dir, out }: { readonly dir: string; readonly out: string }): Promise<Result<BackupIndex>> {
  return makeBackup({ dir, out, snapshot: snapshotStore, nowMs: Date.now() });
}

/** Restores a server from a backup; wired here, apart from a server that runs. */
export function restore(
  { from, dir, journal }: { readonly from: string; readonly dir: string; readonly journal: string | undefined },
  spawner: RoleSpawner<StoreRole>,
): Promise<Result<RestoreReport>> {
  return restoreBackup(
    { from, dir, journal: journalBeside(dir, journal) },
    {
      complaintOf,
      openStore: (work) => openStore({ dir: work, spawner }),
      async makeAdmin(store, work) {
        await createTokens(store.governance).ensureAdminFile(join(work, "admin.token"), Date.now());
      },
      openRepository: (work) => openRepository(repositoryIn(work), Date.now),
      now: Date.now,
    },
  );
}
