import { currentRole } from "@bellwether/protocol/process/roles.io.ts";

console.error(currentRole() ?? "nothing to run yet");
