import type { Command } from "commander";
import { at } from "./client.io.ts";
import { type CliContext, wholeNumber } from "./context.io.ts";
import { type Column, time } from "./print.ts";

interface Lineage {
  readonly prediction: {
    readonly id: number;
    readonly device: string;
    readonly asset: string;
    readonly observedAtMs: number;
  };
  readonly model: {
    readonly model: string;
    readonly version: number;
    readonly digest: string;
    readonly trainer: string;
    readonly seed: number | null;
  };
  readonly run: { readonly kind: string; readonly id: string; readonly createdBy: string } | null;
  readonly snapshots: readonly {
    readonly digest: string;
    readonly origin: string;
    readonly rows: number;
    readonly assets: number;
  }[];
  readonly approver: { readonly by: string; readonly atMs: number; readonly scope: string } | null;
}

const COLUMNS: readonly Column<Lineage>[] = [
  {
    title: "prediction",
    value: ({ prediction }) =>
      `${prediction.id}, of ${prediction.asset} by ${prediction.device} at ${time(prediction.observedAtMs)}`,
  },
  { title: "model", value: ({ model }) => `${model.model} ${model.version}` },
  { title: "digest", value: ({ model }) => model.digest },
  { title: "trainer", value: ({ model }) => `${model.trainer}${model.seed === null ? "" : `, seed ${model.seed}`}` },
  {
    title: "run",
    value: ({ run }) => (run === null ? "none of this server" : `${run.kind} ${run.id}, by ${run.createdBy}`),
  },
  {
    title: "data",
    value: ({ snapshots }) =>
      snapshots
        .map(({ digest, origin, rows, assets }) => `${digest} (${origin}, ${rows} rows of ${assets} assets)`)
        .join("; ") || "not known here",
  },
  {
    title: "approver",
    value: ({ approver }) =>
      approver === null ? "nobody" : `${approver.by} at ${time(approver.atMs)}, for ${approver.scope}`,
  },
];

/** `bellwether lineage`: where a prediction comes from. */
export function addLineageCommands(program: Command, context: CliContext): void {
  program
    .command("lineage")
    .description("where a prediction comes from: model, run, data, and who let devices run it")
    .argument("<prediction>", "its id, as `predictions -o json` shows it", wholeNumber(1, Number.MAX_SAFE_INTEGER))
    .action(async (id: number) => {
      const client = await context.client();
      context.show(await client.get<Lineage>(at`/v1/predictions/${id}/lineage`), COLUMNS);
    });
}
