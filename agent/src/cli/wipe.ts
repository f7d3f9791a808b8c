import { resolve } from "node:path";
import type { Result } from "@bellwether/protocol/result.ts";
import { Command } from "commander";
import { failWith, stateOption } from "./options.ts";

/** What became of a wipe: what was removed, and what kept the server from hearing of it. */
export interface Wiped {
  readonly device: string | undefined;
  readonly removed: readonly string[];
  readonly untold: string | undefined;
}

/** Wipes a state directory; `cli.ts` gives the real one. */
export type WipeDevice = (options: { readonly stateDir: string; readonly config?: string }) => Promise<Result<Wiped>>;

/** `bellwether-agent wipe`: the device forgets its key, its models and its buffer, and says so to its server. */
export function wipeCommand(wipe: WipeDevice): Command {
  return new Command("wipe")
    .description("forget this device's key, models and buffer for good; the agent must not run")
    .addOption(stateOption())
    .option("--config <file>", "the agent's configuration, where link.proxy leads to the server")
    .requiredOption("--yes", "it cannot be undone")
    .action(async (options: { state: string; config?: string }) => {
      const stateDir = resolve(options.state);
      const { config } = options;
      const wiped = await wipe({ stateDir, ...(config === undefined ? {} : { config }) });
      if (!wiped.ok) return failWith(wiped.error);
      const { device, removed, untold } = wiped.value;
      process.stdout.write(`${JSON.stringify({ device, removed: removed.length, told: untold === undefined })}\n`);
      if (device !== undefined && untold !== undefined) {
        process.stderr.write(`The server does not know: order \`bellwether devices reset ${device}\`. ${untold}\n`);
      }
    });
}
