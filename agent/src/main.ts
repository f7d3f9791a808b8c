import { currentRole } from "@bellwether/protocol/process/roles.io.ts";

const role = currentRole();
if (role !== undefined) throw new Error(`unknown role ${role}`);
const { runCli } = await import("./cli.ts");
await runCli(process.argv.slice(2));
