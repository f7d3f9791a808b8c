import { currentRole, roleSpawner } from "@bellwether/protocol/process/roles.io.ts";
import { type AgentRole, ROLES } from "./roles.io.ts";

const role = currentRole();
if (role !== undefined) {
  if (!Object.hasOwn(ROLES, role)) throw new Error(`unknown role ${role}`);
  await ROLES[role as AgentRole]();
} else {
  const { runCli } = await import("./cli.ts");
  await runCli(process.argv.slice(2), roleSpawner<AgentRole>(new URL(import.meta.url)));
}
