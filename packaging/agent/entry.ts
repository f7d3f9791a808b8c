import { getAsset } from "node:sea";
import { roleSpawner } from "@bellwether/protocol/process/roles.io.ts";
import { runProgram } from "../../agent/src/roles.io.ts";

// The entry of the executable. No top-level await here: the bundle is CommonJS, the only form Node 24 runs from inside
// an executable. A rejection ends the process as it does in development.
void runProgram(roleSpawner({ script: getAsset("start.cjs", "utf8") }));
