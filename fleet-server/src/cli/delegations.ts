import type { Command } from "commander";
import type { CliContext } from "./context.io.ts";
import { type KeysOptions, signAndPublish, withKeysOptions } from "./offline.io.ts";
import { type Column, member } from "./print.ts";

interface Delegation {
  readonly model: string;
  readonly cohort: string;
  readonly selector: string;
  readonly enabled: boolean;
  readonly versions: readonly { readonly version: number; readonly by: string }[];
}
const COLUMNS: readonly Column<Delegation>[] = [
  member("model"),
  member("cohort"),
  member("selector"),
  { title: "on", value: ({ enabled }) => (enabled ? "yes" : "no") },
  { title: "versions", value: ({ versions }) => versions.map(({ version }) => version).join(", ") || "none" },
];

/**
 * `bellwether delegations …`: which models automatic retraining may release, and for which cohort. Offline targets say
 * that, so these commands sign with the offline keys of this machine; `release request` makes a file instead.
 */
export function addDelegationCommands(program: Command, context: CliContext): void {
  const delegations = program
    .command("delegations")
    .description("which models automatic retraining may release, each for one cohort");
  delegations
    .command("list")
    .description("list them, with what they released")
    .action(async () => {
      const { items } = await (await context.client()).get<{ items: Delegation[] }>("/v1/delegations");
      context.print(items, COLUMNS);
    });
  for (const change of ["grant", "revoke", "on", "off"] as const) {
    withKeysOptions(delegations.command(`${change} <model> <cohort>`).description(ORDERS[change])).action(
      async (model: string, cohort: string, options: KeysOptions) => {
        await signAndPublish(context, [{ change, model, cohort }], options);
        if (change === "revoke") return;
        const { items } = await (await context.client()).get<{ items: Delegation[] }>("/v1/delegations");
        const found = items.find((one) => one.model === model && one.cohort === cohort);
        if (found) context.show(found, COLUMNS);
      },
    );
  }
}

const ORDERS = {
  grant: "let retraining release the model for the cohort; again: sign the cohort's selector anew",
  revoke: "take that away, and withdraw everything that was released so",
  on: "switch it on again",
  off: "switch it off: devices take nothing that was released so",
} as const;
