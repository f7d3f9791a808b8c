import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { basename } from "node:path";
import { Readable } from "node:stream";
import { type Command, Option } from "commander";
import { at, type BodyBytes, type Client } from "./client.io.ts";
import { type CliContext, collect, collectPair, moment, span } from "./context.io.ts";
import { failure } from "./failure.ts";
import { type Column, member, printable, time } from "./print.ts";

interface ChannelReport {
  readonly channel: string;
  readonly unit: string;
  readonly unitDeclared: boolean;
  readonly values: number;
  readonly missing: number;
  readonly nonNumeric: number;
  readonly min: number | null;
  readonly max: number | null;
  readonly constant: boolean;
}
interface Report {
  readonly rows: number;
  readonly assets: number;
  readonly failures: number;
  readonly fromMs: number;
  readonly toMs: number;
  readonly intervalMs: number | null;
  readonly gaps: number;
  readonly duplicates: number;
  readonly contradictions: number;
  readonly outOfOrder: number;
  readonly timeKind: string;
  readonly timeZone: string | null;
  readonly channels: readonly ChannelReport[];
  readonly ignored: readonly { readonly column: string; readonly reason: string }[];
  readonly warnings: readonly string[];
}
interface History {
  readonly id: string;
  readonly label: string | null;
  readonly snapshot: string;
  readonly report: Report;
  readonly createdAtMs: number;
}
const HISTORY_COLUMNS: readonly Column<History>[] = [
  member("id"),
  member("label"),
  { title: "rows", value: ({ report }) => report.rows },
  { title: "assets", value: ({ report }) => report.assets },
  { title: "failures", value: ({ report }) => report.failures },
  { title: "channels", value: ({ report }) => report.channels.length },
  { title: "from", value: ({ report }) => time(report.fromMs) },
  { title: "to", value: ({ report }) => time(report.toMs) },
  { title: "snapshot", value: ({ snapshot }) => snapshot },
];
interface ImportOptions {
  readonly failures?: string;
  readonly target?: string;
  readonly runToFailure?: boolean;
  readonly label?: string;
  readonly format?: string;
  readonly timeZone?: string;
  readonly timeFormat?: string;
  readonly unit?: Readonly<Record<string, string>>;
  readonly unitsRow?: boolean;
  readonly asset?: string;
  readonly assetColumn?: string;
  readonly timeColumn?: string;
  readonly ignore?: readonly string[];
  readonly start?: number;
  readonly step?: number;
  readonly assetPrefix?: string;
}

interface SnapshotOptions {
  readonly cohort: string;
  readonly model: string;
  readonly modelVersion?: string;
  readonly cutOff?: number;
  readonly knownAt?: number;
  readonly label?: string;
}

/** `bellwether history …`: bring in old samples and failures, and look at what was found in them. */
export function addHistoryCommands(program: Command, context: CliContext): void {
  const history = program.command("history").description("old samples and failures to learn from");
  history
    .command("import <samples>")
    .description("import samples (CSV, TSV or C-MAPSS text) and report units, time zones, gaps and what is wrong")
    .option("--failures <file>", "CSV of failures: asset, time")
    .option("--target <what>", 'the column that holds the target, or "rul": each asset ends with its failure')
    .option("--run-to-failure", "each asset's last row is its failure")
    .option("--label <name>", "call the history by this name")
    .addOption(new Option("--format <format>", "form of the samples").choices(["auto", "csv", "cmapss"]))
    .option("--time-zone <zone>", "zone of times that name none: Europe/Berlin, +02:00, UTC")
    .addOption(
      new Option("--time-format <format>", "form of the times").choices(["auto", "iso", "epoch_s", "epoch_ms", "step"]),
    )
    .option("--unit <channel=unit>", "unit of a channel (repeatable)", collectPair)
    .option("--units-row", "the second line holds the units")
    .option("--asset <name>", "all rows are of this asset")
    .option("--asset-column <column>", "column that names the asset")
    .option("--time-column <column>", "column that holds the time")
    .option("--ignore <column>", "leave out a column (repeatable)", collect)
    .option("--start <time>", "time of step 0, for steps and C-MAPSS cycles", moment)
    .option("--step <span>", "time between steps: 45s, 30m, 12h", span)
    .option("--asset-prefix <text>", "put this before every asset's name")
    .action(async (samples: string, options: ImportOptions) => {
      const client = await context.client();
      const imported = await client.post<History>("/v1/histories", await importRequest(client, samples, options));
      await showHistory(context, imported);
    });
  history
    .command("snapshot")
    .description("make a history of a cohort's own committed samples and outcomes, for one of its models")
    .requiredOption("--cohort <cohort>", "whose assets")
    .requiredOption("--model <model>", "the model it is for: its channels are taken")
    .option("--model-version <version>", "that version's channels, by number or alias; the newest without it")
    .option("--cut-off <time>", "rows and failures up to then; now without it", moment)
    .option("--known-at <time>", "as it was known then: what arrived later does not count", moment)
    .option("--label <name>", "call the history by this name")
    .action(async ({ cutOff, knownAt, modelVersion, ...options }: SnapshotOptions) => {
      const client = await context.client();
      const made = await client.post<History>("/v1/snapshots", {
        ...options,
        ...(modelVersion === undefined ? {} : { version: modelVersion }),
        ...(cutOff === undefined ? {} : { cutOffMs: cutOff }),
        ...(knownAt === undefined ? {} : { knownAtMs: knownAt }),
      });
      await showHistory(context, made);
    });
  history
    .command("list")
    .description("imported histories, newest first")
    .action(async () => {
      const client = await context.client();
      context.print(await Array.fromAsync(client.list<History>("/v1/histories")), HISTORY_COLUMNS);
    });
  history
    .command("show <history>")
    .description("one history with its report")
    .action(async (name: string) => {
      const client = await context.client();
      await showHistory(context, await client.get<History>(at`/v1/histories/${name}`));
    });
  history
    .command("remove <history>")
    .description("remove a history that nothing was learnt from")
    .action(async (name: string) => {
      await (await context.client()).delete(at`/v1/histories/${name}`);
    });
}

async function importRequest(client: Client, samples: string, options: ImportOptions): Promise<unknown> {
  const { failures, target, unit, start, step, ...rest } = options;
  const request: Record<string, unknown> = { ...rest, samples: await upload(client, samples) };
  if (failures !== undefined) request["failures"] = await upload(client, failures);
  if (target === "rul") request["runToFailure"] = true;
  else if (target !== undefined) request["targetColumn"] = target;
  if (unit !== undefined) request["units"] = unit;
  if (start !== undefined) request["startMs"] = start;
  if (step !== undefined) request["stepMs"] = step;
  return request;
}

async function upload(client: Client, file: string): Promise<{ digest: string; fileName: string }> {
  const found = await stat(file).catch((cause: NodeJS.ErrnoException) => {
    throw failure("FILE_UNREADABLE", { file, reason: cause.code ?? cause.message });
  });
  if (!found.isFile()) throw failure("FILE_UNREADABLE", { file, reason: "it is not a file" });
  const bytes = Readable.toWeb(createReadStream(file)) as BodyBytes;
  const { digest } = await client.send<{ digest: string }>("POST", "/v1/history-files", bytes, "text/csv");
  return { digest, fileName: basename(file) };
}

async function showHistory(context: CliContext, history: History): Promise<void> {
  if (context.format() !== "table") return context.show(history, HISTORY_COLUMNS);
  const { report } = history;
  context.show(history, [
    ...HISTORY_COLUMNS,
    {
      title: "times",
      value: () => `${report.timeKind}${report.timeZone === null ? "" : ` (${report.timeZone})`}`,
    },
    { title: "interval", value: () => (report.intervalMs === null ? "" : `${report.intervalMs / 1_000} s`) },
    {
      title: "oddities",
      value: () =>
        `${report.gaps} gaps, ${report.duplicates} duplicates, ${report.contradictions} contradictions, ${report.outOfOrder} out of order`,
    },
  ]);
  await context.write("\n");
  context.print(report.channels, [
    member("channel"),
    { title: "unit", value: ({ unit, unitDeclared }) => (unitDeclared ? unit : "(none)") },
    member("values"),
    member("missing"),
    { title: "not numeric", value: ({ nonNumeric }) => nonNumeric },
    member("min"),
    member("max"),
    { title: "", value: ({ constant }) => (constant ? "constant" : "") },
  ]);
  for (const { column, reason } of report.ignored) context.say(`Left out: ${printable(column)} (${printable(reason)})`);
  for (const warning of report.warnings) context.say(`Note: ${printable(warning)}`);
}
