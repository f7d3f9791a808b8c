import type { Command } from "commander";
import type { CliContext } from "./context.io.ts";
import { member } from "./print.ts";

/** `bellwether version`: which version the server runs. */
export function addServerCommands(program: Command, context: CliContext): void {
  program
    .command("server-version")
    .description("show which version the server runs")
    .action(async () => {
      const client = await context.client();
      context.show(await client.get<{ version: string }>("/v1/version"), [member("version")]);
    });
}
