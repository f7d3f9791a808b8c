import { currentRole } from "@bellwether/protocol/process/roles.io.ts";
import packageJson from "../package.json" with { type: "json" };

/** What this entry runs when it was started for a role; the same entry serves every thread and child. */
const ROLES: Readonly<Record<string, () => Promise<void>>> = {
  "store-writer": async () => (await import("./store/sqlite/store.worker.ts")).runStoreThread(),
  "store-reader": async () => (await import("./store/sqlite/store.worker.ts")).runStoreThread(),
};

const role = currentRole();
if (role !== undefined) {
  const run = ROLES[role];
  if (!run) throw new Error(`unknown role ${role}`);
  await run();
} else {
  const [{ runCli }, { processWorld }] = await Promise.all([import("./cli/program.ts"), import("./cli/world.io.ts")]);
  process.exitCode = await runCli(process.argv.slice(2), processWorld(), packageJson.version);
}
