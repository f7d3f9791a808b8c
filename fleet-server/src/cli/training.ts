import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { basename } from "node:path";
import { Readable } from "node:stream";
import { setTimeout as wait } from "node:timers/promises";
import { type Command, InvalidArgumentError, Option } from "commander";
import type { BodyBytes, Client } from "./client.io.ts";
import { type CliContext, collect, collectPair, moment, parseJson, readText, span, wholeNumber } from "./context.io.ts";
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
type Figure = number | null | undefined;
interface Run {
  readonly id: string;
  readonly history: string;
  readonly model: string;
  readonly phase: string;
  readonly progress: {
    readonly step: string;
    readonly done: number;
    readonly tree?: number;
    readonly trees?: number;
    readonly loss?: number;
  } | null;
  readonly summary: {
    readonly rows: number;
    readonly assets: number;
    readonly holdoutAssets: readonly string[];
    readonly refit: boolean;
    readonly trees: number;
    readonly evaluation: Readonly<Record<string, Figure>>;
    readonly features: readonly { readonly name: string; readonly importance: number }[];
    readonly notes: readonly string[];
  } | null;
  readonly result: { readonly version: number; readonly manifestDigest: string } | null;
  readonly error: { readonly code: string; readonly message: string } | null;
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
const RUN_COLUMNS: readonly Column<Run>[] = [
  member("id"),
  member("model"),
  { title: "version", value: ({ result }) => result?.version },
  member("history"),
  member("phase"),
  { title: "done", value: ({ progress }) => (progress === null ? "" : `${Math.floor(progress.done * 100)} %`) },
  { title: "rmse", value: ({ summary }) => summary?.evaluation["rmse"] },
  { title: "created", value: ({ createdAtMs }) => time(createdAtMs) },
  { title: "error", value: ({ error }) => error?.code },
];
const ENDED = new Set(["succeeded", "failed", "cancelled"]);

/** `bellwether history …` and `bellwether training …`. */
export function addTrainingCommands(program: Command, context: CliContext): void {
  addHistoryCommands(program.command("history").description("old samples and failures to learn from"), context);
  addRunCommands(program.command("training").description("train models from imported histories"), context);
}

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

function addHistoryCommands(history: Command, context: CliContext): void {
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
      await showHistory(context, await client.get<History>(`/v1/histories/${encodeURIComponent(name)}`));
    });
  history
    .command("remove <history>")
    .description("remove a history that nothing was learnt from")
    .action(async (name: string) => {
      await (await context.client()).delete(`/v1/histories/${encodeURIComponent(name)}`);
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

interface StartOptions {
  readonly history?: string;
  readonly rulCap?: number;
  readonly horizonRows?: number;
  readonly column?: string;
  readonly seed?: number;
  readonly holdout?: readonly string[];
  readonly parameters?: Readonly<Record<string, string>>;
  readonly request?: string;
  readonly watch?: boolean;
}

function positive(text: string): number {
  const value = Number(text);
  if (text.trim() !== "" && value > 0 && Number.isFinite(value)) return value;
  throw new InvalidArgumentError("It must be a number above 0.");
}

function addRunCommands(training: Command, context: CliContext): void {
  training
    .command("start")
    .description("train a model from a history; it becomes a new version, to be released like any other")
    .argument("[model]", "the model")
    .option("--history <history>", "id or label of the history")
    .option("--rul-cap <rows>", "learn the rows left until failure, at most this many", positive)
    .option("--horizon-rows <rows>", "learn the probability of failure within so many rows", wholeNumber(1, 1e6))
    .option("--column <column>", "learn the history's target column")
    .option("--seed <n>", "seed; the same gives the same model", wholeNumber(0, Number.MAX_SAFE_INTEGER))
    .option("--holdout <asset>", "never learn from this asset (repeatable)", collect)
    .option("--parameters <name=number>", "a parameter of the trees (repeatable): trees=500", collectPair)
    .option("--request <file>", 'the whole request as JSON ("-" is standard input) instead of the options')
    .option("--watch", "follow it until it has ended")
    .action(async (model: string | undefined, options: StartOptions) => {
      const request = await startRequest(context, model, options);
      const client = await context.client();
      const run = await client.post<Run>("/v1/training-runs", request);
      if (options.watch) await watch(client, context, run.id);
      else context.show(run, RUN_COLUMNS);
    });
  training
    .command("list")
    .description("training runs, newest first")
    .option("--model <model>", "of this model only")
    .action(async (options: { model?: string }) => {
      const client = await context.client();
      context.print(await Array.fromAsync(client.list<Run>("/v1/training-runs", options)), RUN_COLUMNS);
    });
  training
    .command("show <run>")
    .description("one training run with its figures")
    .action(async (id: string) => showRun(context, await (await context.client()).get<Run>(`/v1/training-runs/${id}`)));
  training
    .command("watch <run>")
    .description("follow a training run until it has ended; exits 1 unless it succeeded")
    .action(async (id: string) => watch(await context.client(), context, id));
  training
    .command("cancel <run>")
    .description("end a run that waits or is under way")
    .action(async (id: string) => {
      context.show(await (await context.client()).post<Run>(`/v1/training-runs/${id}/cancel`), RUN_COLUMNS);
    });
}

async function startRequest(context: CliContext, model: string | undefined, options: StartOptions): Promise<unknown> {
  if (options.request !== undefined) {
    return parseJson(await readText(options.request, context.world.stdin), options.request);
  }
  const { history, rulCap, horizonRows, column, seed, holdout, parameters } = options;
  const targets = [
    ...(rulCap === undefined ? [] : [{ kind: "rul", cap: rulCap }]),
    ...(horizonRows === undefined ? [] : [{ kind: "binary", horizonRows }]),
    ...(column === undefined ? [] : [{ kind: "column", column }]),
  ];
  if (model === undefined || history === undefined || targets.length !== 1) {
    const expected = "name a model, --history and one of --rul-cap, --horizon-rows and --column, or give --request";
    throw failure("ARGUMENT_INVALID", { name: "training start", expected });
  }
  const numbers = Object.entries(parameters ?? {}).map(([name, text]) => [name, positive(text)] as const);
  return {
    model,
    history,
    target: targets[0],
    ...(seed === undefined ? {} : { seed }),
    ...(holdout === undefined ? {} : { holdoutAssets: holdout }),
    ...(numbers.length === 0 ? {} : { parameters: Object.fromEntries(numbers) }),
  };
}

const BAR = 30;

/** A run in one line, as people watch it. */
export function pictureOfRun(run: Run): string {
  const { progress } = run;
  if (run.phase !== "running" || progress === null) return `${run.id}  ${run.phase}`;
  const filled = Math.round(progress.done * BAR);
  const tree = progress.tree === undefined ? "" : `  tree ${progress.tree}/${progress.trees}`;
  const loss = progress.loss === undefined ? "" : `  loss ${Number(progress.loss.toPrecision(4))}`;
  return `${run.id}  ${"█".repeat(filled)}${"░".repeat(BAR - filled)}  ${progress.step}${tree}${loss}`;
}

/** Repaints one line on a terminal; elsewhere a line per step. */
async function watch(client: Client, context: CliContext, id: string): Promise<void> {
  const { interactive, signal } = context.world;
  let shown = "";
  for (;;) {
    const run = await client.get<Run>(`/v1/training-runs/${id}`);
    const now = interactive ? pictureOfRun(run) : `${run.id}  ${run.phase}  ${run.progress?.step ?? ""}`.trimEnd();
    if (now !== shown && context.format() === "table") {
      await context.write(interactive ? `\r\u001b[K${now}` : `${now}\n`);
      shown = now;
    }
    if (ENDED.has(run.phase)) {
      if (interactive && context.format() === "table") await context.write("\n");
      await showRun(context, run);
      if (run.phase === "succeeded") return;
      const reason = run.error?.message ?? "it was ended by request";
      throw failure("TRAINING_NOT_SUCCEEDED", { run: id, phase: run.phase, reason });
    }
    await wait(interactive ? 250 : 500, undefined, { signal });
  }
}

async function showRun(context: CliContext, run: Run): Promise<void> {
  if (context.format() !== "table" || run.summary === null) return context.show(run, RUN_COLUMNS);
  const { summary } = run;
  const { evaluation } = summary;
  const figure = (name: string) => ({ title: name, value: () => evaluation[name] });
  const binary = evaluation["auc"] !== undefined;
  context.show(run, [
    ...RUN_COLUMNS.filter(({ title }) => title !== "rmse"),
    { title: "learnt from", value: () => `${summary.rows} rows of ${summary.assets} assets, ${summary.trees} trees` },
    {
      title: "measured on",
      value: () =>
        `${evaluation["rows"]} rows of ${evaluation["assets"]} assets${summary.refit ? "; then grown again on all" : ", which it never saw"}`,
    },
    figure("rmse"),
    { title: "rmse of mean", value: () => evaluation["rmseMean"] },
    figure("mae"),
    {
      title: "interval 90 %",
      value: () => (binary ? "" : `± ${Number(evaluation["intervalHalfWidth"]).toPrecision(3)}`),
    },
    ...(binary ? [figure("auc"), figure("f1")] : []),
    {
      title: "features",
      value: () =>
        summary.features
          .slice(0, 5)
          .map(({ name, importance }) => `${name} ${(importance * 100).toFixed(0)} %`)
          .join(", "),
    },
  ]);
  for (const note of summary.notes) context.say(`Note: ${printable(note)}`);
}
