import { currentRole, roleSpawner } from "@bellwether/protocol/process/roles.io.ts";
import packageJson from "../package.json" with { type: "json" };
import type { ServerRole } from "./app.io.ts";

/** What this entry runs when it was started for a role; the same entry serves every thread and child. */
const ROLES: Readonly<Record<ServerRole, () => Promise<void>>> = {
  "store-writer": async () => (await import("./store/sqlite/store.worker.ts")).runStoreThread(),
  "store-reader": async () => (await import("./store/sqlite/store.worker.ts")).runStoreThread(),
  "history-import": async () => (await import("./retraining/history/import.worker.ts")).runImportThread(),
  train: async () => (await import("./retraining/train.worker.ts")).runTrainThread(),
  retrain: async () => (await import("./retraining/retrain.worker.ts")).runRetrainThread(),
  "development-keys": async () => {
    const { runDevelopmentKeys } = await import("./cli/development.io.ts");
    await runDevelopmentKeys(await repositories());
  },
  sandbox: async () => (await import("./registry/sandbox.worker.ts")).runSandbox(),
};

/** Gives a server's release repository to commands that are run on its machine before or beside it. */
async function repositories() {
  const { emptyRepository, repositoryIn } = await import("./registry/first-metadata.io.ts");
  return (dataDir: string) => emptyRepository(repositoryIn(dataDir));
}

const role = currentRole();
if (role !== undefined) {
  const run = ROLES[role as ServerRole];
  if (!run) throw new Error(`unknown role ${role}`);
  await run();
} else {
  const [
    { runCli },
    { processWorld },
    { addUpCommand },
    { addModelFileCommands },
    { developmentKeysMaker },
    { addKeysCommands },
    { addRecoveryCommands },
    repositoryOf,
  ] = await Promise.all([
    import("./cli/program.ts"),
    import("./cli/world.io.ts"),
    import("./cli/up.ts"),
    import("./cli/model.ts"),
    import("./cli/development.io.ts"),
    import("./cli/keys.ts"),
    import("./cli/recovery.ts"),
    repositories(),
  ]);
  const spawner = roleSpawner<ServerRole>(new URL(import.meta.url));
  const model = addModelFileCommands(async () => {
    const { createSandbox, DRAFT_LIMITS } = await import("./registry/sandbox.io.ts");
    return createSandbox(spawner, DRAFT_LIMITS);
  });
  const keys = addKeysCommands(repositoryOf);
  const recovery = addRecoveryCommands({
    backup: async (options) => (await import("./recover.io.ts")).backup(options),
    restore: async (options) => (await import("./recover.io.ts")).restore(options, spawner),
  });
  const up = addUpCommand(async (options) => {
    const { startServer } = await import("./app.io.ts");
    return startServer({ ...options, spawner, version: packageJson.version });
  }, developmentKeysMaker(spawner));
  process.exitCode = await runCli(process.argv.slice(2), processWorld(), packageJson.version, [
    up,
    recovery,
    keys,
    model,
  ]);
}
