import { roleSpawner } from "@bellwether/protocol/process/roles.io.ts";
import { runProgram } from "./roles.io.ts";

await runProgram(roleSpawner(new URL(import.meta.url)));
