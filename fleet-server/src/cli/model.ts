import { readdir } from "node:fs/promises";
import { basename, join, resolve } from "node:path";
import { createInterface } from "node:readline/promises";
import { isName } from "@bellwether/protocol/ids.ts";
import type { CheckedModel } from "@bellwether/protocol/onnx/static-check.ts";
import { type DraftOptions, draftInputs, type Meaning } from "@bellwether/protocol/package/draft.ts";
import { FeatureSpec, OUTPUT_MEANINGS, type WindowSpec } from "@bellwether/protocol/package/manifest.ts";
import { validator } from "@bellwether/protocol/schema.ts";
import { parseUnit } from "@bellwether/protocol/units.ts";
import { type Command, InvalidArgumentError, Option } from "commander";
import { Type } from "typebox";
import type { DraftTask } from "../registry/draft.io.ts";
import type { HistoryHeader } from "../registry/history-file.ts";
import type { Sandbox } from "../registry/sandbox.io.ts";
import { type CliContext, collectPair, parseJson, readText, span, wholeNumber } from "./context.io.ts";
import { failure, must } from "./failure.ts";
import { member } from "./print.ts";

const featureList = validator("The features", Type.Array(FeatureSpec, { minItems: 1, maxItems: 10_000 }));
const TOLERANCE = 1e-4;

/** `bellwether model init` and `model check`: make and prove a package on this machine, without a server. */
export function addModelFileCommands(openSandbox: () => Promise<Sandbox>) {
  return (program: Command, context: CliContext): void => {
    const model = program.command("model").description("make and check model packages on this machine");
    addInit(model, context, openSandbox);
    model
      .command("check <folder>")
      .description("run a package as a device does: digests, static check, bindings, load, golden vectors")
      .action(async (folder: string) => {
        const files = await readdir(folder).catch((cause: NodeJS.ErrnoException) => {
          throw failure("FILE_UNREADABLE", { file: folder, reason: cause.code ?? cause.message });
        });
        if (!files.includes("manifest.json")) {
          throw failure("FILE_UNREADABLE", { file: join(folder, "manifest.json"), reason: "ENOENT" });
        }
        const at = (name: string) => resolve(folder, name);
        const sandbox = await openSandbox();
        const report = must(
          await sandbox.validate(
            {
              manifest: at("manifest.json"),
              model: at("model.onnx"),
              golden: at("golden.json"),
              reference: at("reference.json"),
            },
            context.world.signal,
          ),
        );
        context.show(report, [
          { title: "golden cases", value: ({ cases, runs }) => `${cases} in ${runs} runs, all as expected` },
          { title: "largest difference", value: ({ maxDifference }) => maxDifference },
          { title: "load ms", value: ({ loadMs }) => Math.round(loadMs) },
          { title: "p50 us", value: ({ p50LatencyUs }) => p50LatencyUs },
          { title: "p99 us", value: ({ p99LatencyUs }) => p99LatencyUs },
          { title: "memory MB", value: ({ peakBytes }) => Math.round(peakBytes / 2 ** 20) },
        ]);
      });
  };
}

interface InitOptions {
  readonly history: string;
  readonly out?: string;
  readonly name?: string;
  readonly description?: string;
  readonly channels?: readonly ChannelColumn[];
  readonly units?: string;
  readonly meaning?: Meaning;
  readonly unit?: string;
  readonly primary?: { readonly output: string; readonly index?: number };
  readonly window?: WindowSpec;
  readonly features?: string;
  readonly assetColumn?: string;
  readonly timeColumn?: string;
  readonly input?: Readonly<Record<string, string>>;
  readonly constant?: Readonly<Record<string, string>>;
  readonly dim?: Readonly<Record<string, string>>;
  readonly tolerance: number;
  readonly alert?: DraftTask["alert"];
  readonly latency?: number;
}

function addInit(model: Command, context: CliContext, openSandbox: () => Promise<Sandbox>): void {
  model
    .command("init <model.onnx>")
    .description("draft manifest, golden vectors and reference profile from a model and a history")
    .requiredOption("--history <file.csv>", "rows the model could have seen: a header, a column for each channel")
    .option("--out <folder>", "where the package goes; by default a folder named after the model")
    .option("--name <name>", "the model's name in the fleet; by default its file's")
    .option("--description <text>", "what it is for")
    .option("--channels <list>", "channels in the order of training: a,b,c or channel=column", channelList)
    .option("--units <list>", "their units (UCUM): one for all, one each in order, or channel=unit")
    .addOption(new Option("--meaning <meaning>", "what the primary output is").choices([...OUTPUT_MEANINGS]))
    .option("--unit <unit>", "unit of the primary output")
    .option("--primary <output>", "the primary output: NAME or NAME:INDEX", primaryOutput)
    .option("--window <window>", "rows (30 or 30/5 for every fifth) or time (10m/1m)", windowSpec)
    .option("--features <file.json>", "features instead of the newest value of each channel")
    .option("--asset-column <column>", "which column names the asset")
    .option("--time-column <column>", "which column holds the time")
    .option("--input <name=list>", "channels or features that feed one input; repeat", collectPair)
    .option("--constant <name=list>", "elements that one input always gets; repeat", collectPair)
    .option("--dim <name=size>", "size of a free dimension of the model; repeat", collectPair)
    .option("--tolerance <number>", "largest difference from golden outputs", positive, TOLERANCE)
    .option("--latency <ms>", "p99 latency a device must keep; by default 20 times the slowest run here", positive)
    .option("--alert <rule>", "raise an alert: below:30:2/3 is 2 of the last 3 below 30", alertRule)
    .action(async (modelFile: string, options: InitOptions) => {
      const sandbox = await openSandbox();
      const { signal } = context.world;
      const { history } = options;
      const inspected = must(await sandbox.inspect(resolve(modelFile), resolve(history), signal));
      const task = await complete(context, resolve(modelFile), options, inspected.model, inspected.header!);
      const drafted = must(await sandbox.draft(task, signal));
      for (const note of drafted.notes) context.say(`Note: ${note}`);
      const { manifest, vectors, cases } = drafted;
      const shown = {
        folder: task.outDir,
        model: manifest.model,
        vectors,
        cases,
        maxBatch: manifest.maxBatch,
        manifest,
      };
      context.show(shown, [
        member("folder"),
        member("model"),
        { title: "inputs", value: () => manifest.tensors.map(({ input, shape }) => `${input} [${shape}]`).join(", ") },
        {
          title: "outputs",
          value: () => manifest.outputs.map(({ name, primary }) => name + (primary ? "*" : "")).join(", "),
        },
        member("vectors"),
        { title: "golden cases", value: () => cases },
        { title: "batch", value: () => manifest.maxBatch },
      ]);
    });
}

/** Everything the draft needs; asks on a terminal for what nobody said, and refuses elsewhere. */
async function complete(
  context: CliContext,
  modelFile: string,
  options: InitOptions,
  model: CheckedModel,
  header: HistoryHeader,
): Promise<DraftTask> {
  const fileName = basename(modelFile).replace(/\.onnx$/i, "");
  const name = options.name ?? fileName.replaceAll(/[^A-Za-z0-9._-]/g, "-");
  if (!isName(name))
    throw failure("ARGUMENT_INVALID", { name: "--name", expected: "letters, digits, dots and dashes" });
  const features = options.features === undefined ? {} : { features: await readFeatures(options.features) };
  const known = {
    ...features,
    ...(options.window ? { window: options.window } : {}),
    ...(options.input ? { inputs: mapOf(options.input, words) } : {}),
    ...(options.constant ? { constants: mapOf(options.constant, (list) => words(list).map(element)) } : {}),
    ...(options.dim ? { dims: argument("--dim", () => mapOf(options.dim!, size)) } : {}),
    ...(options.primary ? { primary: options.primary } : {}),
    ...(options.unit ? { unit: unitOf(options.unit, "--unit") } : {}),
  };
  const channels = await chooseChannels(context, options, model, header, known);
  const units = await chooseUnits(context, options, channels);
  const meaning = options.meaning ?? (await chooseMeaning(context));
  const asset = options.assetColumn ?? header.assetColumn;
  const time = options.timeColumn ?? header.timeColumn;
  if (asset === undefined) context.say("Note: no asset column; all rows count as one asset's.");
  if (time === undefined) context.say("Note: no time column; rows count as one second apart.");
  return {
    modelFile,
    historyFile: resolve(options.history),
    outDir: resolve(options.out ?? name),
    name,
    ...(options.description === undefined ? {} : { description: options.description }),
    options: { ...known, channels: channels.map(({ channel }, i) => ({ channel, unit: units[i]! })), meaning },
    columns: { ...(asset === undefined ? {} : { asset }), ...(time === undefined ? {} : { time }), channels },
    ...(options.alert ? { alert: options.alert } : {}),
    ...(options.latency ? { p99LatencyMs: options.latency } : {}),
    tolerance: { absolute: options.tolerance, relative: options.tolerance },
  };
}

interface ChannelColumn {
  readonly channel: string;
  readonly column: string;
}

/** The channels given; else every numeric column, if the model takes exactly so many; else what the person says. */
async function chooseChannels(
  context: CliContext,
  { channels, assetColumn, timeColumn }: InitOptions,
  model: CheckedModel,
  header: HistoryHeader,
  known: Partial<DraftOptions>,
): Promise<readonly ChannelColumn[]> {
  if (channels !== undefined) return channels;
  const free = header.numeric.filter((column) => column !== assetColumn && column !== timeColumn);
  const all = free.map((column) => ({ channel: channelOf(column), column }));
  const fits = (some: readonly ChannelColumn[]) =>
    draftInputs(model, { ...known, channels: some.map(({ channel }) => ({ channel, unit: "1" })), meaning: "value" });
  const drafted = fits(all);
  if (drafted.ok) {
    context.say(
      `Note: the history's columns are taken as channels in their order: ${all.map((one) => one.channel).join(", ")}.`,
    );
    return all;
  }
  // Other channels would not help against a shape that is open or a constant that is wrong.
  if (drafted.error.code !== "DRAFT_CHANNELS_WRONG" || drafted.error.detail["what"] === "elements") must(drafted);
  const hint = `${drafted.error.message} The history has the columns ${header.columns.slice(0, 100).join(", ")}`;
  const answer = await ask(
    context,
    "--channels",
    "which channels the model was trained with",
    hint,
    "Channels, in the order of training",
  );
  return argument("--channels", () => channelList(answer));
}

/** A column's name as a channel's: what manifests do not take becomes "_". */
function channelOf(column: string): string {
  const name = column
    .replaceAll(/[^A-Za-z0-9._-]+/g, "_")
    .replace(/^[^A-Za-z0-9]+/, "")
    .slice(0, 64);
  return isName(name) ? name : "channel";
}

async function chooseUnits(
  context: CliContext,
  { units }: InitOptions,
  channels: readonly ChannelColumn[],
): Promise<string[]> {
  const given = units === undefined ? [] : units.split(",").map((unit) => unit.trim());
  const named = new Map(
    given
      .filter((one) => one.includes("="))
      .map((one) => [one.slice(0, one.indexOf("=")), one.slice(one.indexOf("=") + 1)]),
  );
  const plain = given.filter((one) => !one.includes("="));
  if (plain.length > 1 && plain.length !== channels.length) {
    throw failure("ARGUMENT_INVALID", {
      name: "--units",
      expected: `one for all, or ${channels.length} in order, not ${plain.length}`,
    });
  }
  const chosen: string[] = [];
  for (const [i, { channel }] of channels.entries()) {
    const said = named.get(channel) ?? (plain.length > 1 ? plain[i] : plain[0]);
    const unit =
      said ??
      (await ask(
        context,
        "--units",
        `the unit of ${channel}`,
        "a UCUM code such as mm/s, Cel, bar, /min, or 1 for none",
        `Unit of ${channel}`,
      ));
    chosen.push(unitOf(unit, "--units"));
  }
  return chosen;
}

async function chooseMeaning(context: CliContext): Promise<Meaning> {
  const choices = OUTPUT_MEANINGS.join(", ");
  const answer = await ask(
    context,
    "--meaning",
    "what the model's output is",
    `one of ${choices}`,
    `Meaning of the output (${choices})`,
  );
  const meaning = OUTPUT_MEANINGS.find((one) => one === answer.trim());
  if (meaning === undefined) throw failure("ARGUMENT_INVALID", { name: "--meaning", expected: `one of ${choices}` });
  return meaning;
}

async function ask(context: CliContext, option: string, what: string, hint: string, question: string): Promise<string> {
  const { interactive, stdin, stderr, signal } = context.world;
  if (!interactive) throw failure("NOT_SAID", { what, hint, option });
  const lines = createInterface({ input: stdin, output: stderr });
  try {
    context.say(hint);
    return await lines.question(`${question}: `, { signal });
  } finally {
    lines.close();
  }
}

async function readFeatures(file: string): Promise<FeatureSpec[]> {
  return must(featureList.check(parseJson(await readText(file), file)));
}

function unitOf(unit: string, name: string): string {
  const parsed = parseUnit(unit);
  if (!parsed.ok) throw failure("ARGUMENT_INVALID", { name, expected: parsed.error.message });
  return unit;
}

function words(list: string): string[] {
  return list.split(",").map((word) => word.trim());
}

function element(word: string): number | boolean | string {
  if (word === "true" || word === "false") return word === "true";
  return word !== "" && Number.isFinite(Number(word)) ? Number(word) : word;
}

/** Parsing that commander did not do itself: its complaint becomes ours. */
function argument<T>(name: string, parse: () => T): T {
  try {
    return parse();
  } catch (cause) {
    if (!(cause instanceof InvalidArgumentError)) throw cause;
    throw failure("ARGUMENT_INVALID", { name, expected: cause.message.replace(/\.$/, "") });
  }
}

function size(text: string): number {
  return wholeNumber(1, 1_000_000)(text);
}

function mapOf<T>(map: Readonly<Record<string, string>>, read: (text: string) => T): Record<string, T> {
  return Object.fromEntries(Object.entries(map).map(([name, text]) => [name, read(text)]));
}

function channelList(text: string): ChannelColumn[] {
  return words(text).map((word) => {
    const cut = word.indexOf("=");
    const [channel, column] = cut < 0 ? [word, word] : [word.slice(0, cut), word.slice(cut + 1)];
    if (!isName(channel)) throw new InvalidArgumentError(`"${channel}" is no channel name; write channel=column.`);
    return { channel, column };
  });
}

function primaryOutput(text: string): NonNullable<InitOptions["primary"]> {
  const match = /^(.+):(\d{1,6})$/.exec(text);
  return match ? { output: match[1]!, index: Number(match[2]) } : { output: text };
}

function windowSpec(text: string): WindowSpec {
  const [length = "", hop] = text.split("/");
  if (/^\d+$/.test(length)) {
    const rows = size(length);
    return { kind: "count", length: rows, hop: hop === undefined ? 1 : size(hop), minRows: rows };
  }
  const lengthMs = span(length);
  return { kind: "time", lengthMs, hopMs: hop === undefined ? lengthMs : span(hop), minRows: 1 };
}

function alertRule(text: string): NonNullable<DraftTask["alert"]> {
  const match = /^(above|below):(-?[\d.]+)(?::(\d{1,4})\/(\d{1,4}))?$/.exec(text);
  if (!match || !Number.isFinite(Number(match[2]))) throw new InvalidArgumentError('It must look like "below:30:2/3".');
  const [, direction, threshold, k = "1", n = k] = match;
  return { direction: direction as "above" | "below", threshold: Number(threshold), k: Number(k), n: Number(n) };
}

function positive(text: string): number {
  const value = Number(text);
  if (!(value >= 0) || text.trim() === "") throw new InvalidArgumentError("It must be a number, 0 or more.");
  return value;
}
