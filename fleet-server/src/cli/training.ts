import { setTimeout as wait } from "node:timers/promises";
import { type Command, InvalidArgumentError } from "commander";
import { at, type Client } from "./client.io.ts";
import { type CliContext, collect, collectPair, parseJson, readText, wholeNumber } from "./context.io.ts";
import { failure } from "./failure.ts";
import { patiently } from "./patience.ts";
import { type Column, member, printable, time } from "./print.ts";

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

interface StartOptions {
  readonly history?: string;
  readonly rulCap?: number;
  readonly horizonRows?: number;
  readonly horizonHours?: number;
  readonly binaryColumn?: string;
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

/** `bellwether training …`: start runs, watch them, end them. */
export function addTrainingCommands(program: Command, context: CliContext): void {
  const training = program.command("training").description("train models from imported histories");
  training
    .command("start")
    .description("train a model from a history; it becomes a new version, to be released like any other")
    .argument("[model]", "the model")
    .option("--history <history>", "id or label of the history")
    .option("--rul-cap <rows>", "learn the rows left until failure, at most this many", positive)
    .option("--horizon-rows <rows>", "learn the probability of failure within so many rows", wholeNumber(1, 1e6))
    .option("--horizon-hours <hours>", "learn the probability of failure within so many hours", wholeNumber(1, 1e6))
    .option("--binary-column <column>", "learn the probability that the history's target column, of 0 and 1, is 1")
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
    .action(async (id: string) =>
      showRun(context, await (await context.client()).get<Run>(at`/v1/training-runs/${id}`)),
    );
  training
    .command("watch <run>")
    .description("follow a training run until it has ended; exits 1 unless it succeeded")
    .action(async (id: string) => watch(await context.client(), context, id));
  training
    .command("cancel <run>")
    .description("end a run that waits or is under way")
    .action(async (id: string) => {
      context.show(await (await context.client()).post<Run>(at`/v1/training-runs/${id}/cancel`), RUN_COLUMNS);
    });
}

async function startRequest(context: CliContext, model: string | undefined, options: StartOptions): Promise<unknown> {
  if (options.request !== undefined) {
    return parseJson(await readText(options.request, context.world.stdin), options.request);
  }
  const { history, rulCap, horizonRows, horizonHours, binaryColumn, column, seed, holdout, parameters } = options;
  const targets = [
    ...(rulCap === undefined ? [] : [{ kind: "rul", cap: rulCap }]),
    ...(horizonRows === undefined ? [] : [{ kind: "binary", horizonRows }]),
    ...(horizonHours === undefined ? [] : [{ kind: "binary", horizonHours }]),
    ...(binaryColumn === undefined ? [] : [{ kind: "binary", column: binaryColumn }]),
    ...(column === undefined ? [] : [{ kind: "column", column }]),
  ];
  if (model === undefined || history === undefined || targets.length !== 1) {
    const expected =
      "name a model, --history and one of --rul-cap, --horizon-rows, --horizon-hours, --binary-column and --column, or give --request";
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
    const run = await patiently(context, () => client.get<Run>(at`/v1/training-runs/${id}`));
    const now = interactive ? pictureOfRun(run) : `${run.id}  ${run.phase}  ${run.progress?.step ?? ""}`.trimEnd();
    if (now !== shown && context.format() === "table") {
      await context.write(
        interactive ? `\r\u001b[K${[...now].slice(0, context.world.columns() - 1).join("")}` : `${now}\n`,
      );
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
