import type { Command } from "commander";
import type { CliContext } from "./context.io.ts";
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

/** `bellwether delegations …`: which models automatic retraining may release, and for which cohort. */
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
  delegations
    .command("grant <model> <cohort>")
    .description("let retraining release the model for the cohort; again: sign the cohort's selector anew")
    .action(async (model: string, cohort: string) => {
      context.show(await (await context.client()).put<Delegation>(pathOf(model, cohort), undefined), COLUMNS);
    });
  delegations
    .command("revoke <model> <cohort>")
    .description("take that away, and withdraw everything that was released so")
    .action(async (model: string, cohort: string) => {
      await (await context.client()).delete(pathOf(model, cohort));
    });
  for (const order of ["on", "off"] as const) {
    delegations
      .command(`${order} <model> <cohort>`)
      .description(order === "on" ? "switch it on again" : "switch it off: devices take nothing that was released so")
      .action(async (model: string, cohort: string) => {
        context.show(await (await context.client()).post<Delegation>(`${pathOf(model, cohort)}/${order}`), COLUMNS);
      });
  }
}

function pathOf(model: string, cohort: string): string {
  return `/v1/models/${encodeURIComponent(model)}/delegations/${encodeURIComponent(cohort)}`;
}
