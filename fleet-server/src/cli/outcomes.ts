import { isName } from "@bellwether/protocol/ids.ts";
import { type Command, Option } from "commander";
import { parse } from "csv-parse/sync";
import { OUTCOME_KINDS } from "../outcomes/outcomes.ts";
import { at } from "./client.io.ts";
import { type CliContext, moment, readText } from "./context.io.ts";
import { failure } from "./failure.ts";
import { type Column, member, time } from "./print.ts";

interface Outcome {
  readonly id: number;
  readonly site: string;
  readonly asset: string;
  readonly kind: string;
  readonly atMs: number;
  readonly note?: string;
  readonly by: string;
  readonly recordedAtMs: number;
  readonly retracted: { readonly by: string } | null;
}

const COLUMNS: readonly Column<Outcome>[] = [
  member("id"),
  { title: "at", value: ({ atMs }) => time(atMs) },
  member("site"),
  member("asset"),
  member("kind"),
  { title: "note", value: ({ note }) => note ?? "" },
  { title: "recorded", value: ({ recordedAtMs }) => time(recordedAtMs) },
  { title: "taken back", value: ({ retracted }) => (retracted === null ? "" : retracted.by) },
];

/** `bellwether outcomes …`: what maintenance found. */
export function addOutcomeCommands(program: Command, context: CliContext): void {
  const outcomes = program
    .command("outcomes")
    .description("what maintenance found: failures, inspections, false alarms");
  outcomes
    .command("add <asset>")
    .description("record what was found on an asset")
    .addOption(new Option("--kind <kind>", "what it was").choices([...OUTCOME_KINDS]).default("failure"))
    .requiredOption("--at <time>", "when it was so (ISO 8601)", moment)
    .option("--site <site>", "the asset's site, where several have one of that name")
    .option("--note <text>", "what else is known")
    .action(async (asset: string, { at, ...said }: { at: number; kind: string; site?: string; note?: string }) => {
      await send(context, [{ asset, atMs: at, ...said }]);
    });
  outcomes
    .command("import <file>")
    .description('record a CSV file of asset,time,kind[,note][,site] ("-" is standard input), all of it or nothing')
    .action(async (file: string) => send(context, outcomesOf(await readText(file, context.world.stdin))));
  outcomes
    .command("list")
    .description("what was recorded, oldest first")
    .option("--asset <asset>", "only of this asset")
    .option("--cohort <cohort>", "only of assets of this cohort")
    .option("--since <time>", "only from then on", moment)
    .option("--until <time>", "only before then", moment)
    .action(async ({ since, until, ...about }: { since?: number; until?: number; asset?: string; cohort?: string }) => {
      const client = await context.client();
      const rows = client.list<Outcome>("/v1/outcomes", { ...about, fromMs: since, toMs: until, limit: 1000 });
      context.print(await Array.fromAsync(rows), COLUMNS);
    });
  outcomes
    .command("retract <id>")
    .description("take an outcome back that was a mistake")
    .action(async (id: string) => {
      const client = await context.client();
      context.show(await client.post<Outcome>(at`/v1/outcomes/${id}/retract`), COLUMNS);
    });
}

async function send(context: CliContext, outcomes: readonly object[]): Promise<void> {
  const client = await context.client();
  const { items } = await client.post<{ items: Outcome[] }>("/v1/outcomes", { outcomes });
  context.print(items, COLUMNS);
}

/** The lines of an outcomes file; refuses what no outcome can be made of, with its line. */
function outcomesOf(text: string): object[] {
  const wrong = (line: number, reason: string) => failure("OUTCOME_LINE_WRONG", { line, reason });
  let records: { record: Record<string, string>; info: { lines: number } }[];
  try {
    records = parse(text, {
      columns: true,
      info: true,
      skip_empty_lines: true,
      trim: true,
      bom: true,
    }) as typeof records;
  } catch (cause) {
    const { lines = 1, message } = cause as Error & { lines?: number };
    throw wrong(lines, message);
  }
  return records.map(({ record, info: { lines: line } }) => {
    const { asset = "", time: at = "", kind = "failure", note = "", site = "" } = record;
    if (!isName(asset)) throw wrong(line, `"${asset}" is no asset's name (columns: asset,time,kind,note,site)`);
    if (!(OUTCOME_KINDS as readonly string[]).includes(kind)) {
      throw wrong(line, `"${kind}" is none of ${OUTCOME_KINDS.join(", ")}`);
    }
    const atMs = /(Z|[+-]\d\d:\d\d)$/.test(at) ? Date.parse(at) : Number.NaN;
    if (Number.isNaN(atMs)) throw wrong(line, `"${at}" is no ISO 8601 time with its zone`);
    return { asset, atMs, kind, ...(note === "" ? {} : { note }), ...(site === "" ? {} : { site }) };
  });
}
