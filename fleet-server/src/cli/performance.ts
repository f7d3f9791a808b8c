import type { Command } from "commander";
import { type CliContext, moment } from "./context.io.ts";
import { type Column, member } from "./print.ts";

interface Figures {
  readonly version: number | "all";
  readonly n: number;
  readonly unmatured: number;
  readonly assets: number;
  readonly rmse: number | null;
  readonly mae: number | null;
  readonly bias: number | null;
  readonly rmseOfMean: number | null;
  readonly precision: number | null;
  readonly recall: number | null;
}

const COLUMNS: readonly Column<Figures>[] = [
  member("version"),
  member("n"),
  { title: "not judged yet", value: ({ unmatured }) => unmatured },
  member("assets"),
  member("rmse"),
  member("mae"),
  member("bias"),
  { title: "rmse of mean", value: ({ rmseOfMean }) => rmseOfMean },
  member("precision"),
  member("recall"),
];

/** `bellwether performance`: how good a model really is. */
export function addPerformanceCommands(program: Command, context: CliContext): void {
  program
    .command("performance <model>")
    .description("real errors of a model's predictions, by version, as far as outcomes tell")
    .option("--cohort <cohort>", "only on this cohort")
    .option("--since <time>", "only predictions from then on", moment)
    .option("--until <time>", "only predictions before then", moment)
    .action(async (model: string, { since, until, cohort }: { since?: number; until?: number; cohort?: string }) => {
      const client = await context.client();
      const found = await client.get<{ whole: Omit<Figures, "version">; versions: Figures[] }>("/v1/performance", {
        model,
        cohort,
        fromMs: since,
        toMs: until,
      });
      if (context.format() !== "table") return context.show(found, []);
      context.print([...found.versions, { version: "all", ...found.whole } as Figures], COLUMNS);
    });
}
