import { type Command, Option } from "commander";
import { stringify } from "yaml";
import { type CliContext, collect, moment, span, wholeNumber } from "./context.io.ts";
import { age, type Column, member, time } from "./print.ts";
import { sparkline } from "./sparkline.ts";

interface Value {
  readonly site: string;
  readonly asset: string;
  readonly channel: string;
  readonly value: number | null;
  readonly quality: string;
  readonly correctedAtMs: number;
  readonly ageMs: number;
  readonly hist: boolean;
}
interface Rollup {
  readonly site: string;
  readonly asset: string;
  readonly channel: string;
  readonly fromMs: number;
  readonly toMs: number;
  readonly stepMs: number;
  readonly atMs: readonly number[];
  readonly count: readonly number[];
  readonly min: readonly number[];
  readonly mean: readonly number[];
  readonly max: readonly number[];
  readonly last: readonly number[];
  readonly backfilled: readonly number[];
  readonly gaps: readonly (readonly [fromMs: number, toMs: number])[];
}

const VALUE: readonly Column<Value>[] = [
  member("site"),
  member("asset"),
  member("channel"),
  { title: "value", value: ({ value }) => value },
  { title: "quality", value: ({ quality, hist }) => (hist ? `${quality}, backfilled` : quality) },
  { title: "age", value: ({ ageMs }) => age(ageMs) },
];

const most = (values: readonly number[]) => values.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
const least = (values: readonly number[]) => values.reduce((a, b) => Math.min(a, b), Number.POSITIVE_INFINITY);
const sum = (values: readonly number[]) => values.reduce((a, b) => a + b, 0);
const some = (rollup: Rollup, of: () => number) => (rollup.atMs.length === 0 ? undefined : of());

/** Cells of the plot in a table: what fits beside the figures on a common terminal. */
const PLOT_CELLS = 40;
const ROLLUP: readonly Column<Rollup>[] = [
  member("asset"),
  member("channel"),
  {
    title: "mean over time",
    value: ({ atMs, mean, fromMs, toMs }) => sparkline(atMs, mean, { fromMs, toMs, cells: PLOT_CELLS }),
  },
  { title: "min", value: (rollup) => some(rollup, () => least(rollup.min)) },
  {
    title: "mean",
    value: (rollup) =>
      some(rollup, () => sum(rollup.mean.map((mean, i) => mean * (rollup.count[i] as number))) / sum(rollup.count)),
  },
  { title: "max", value: (rollup) => some(rollup, () => most(rollup.max)) },
  { title: "last", value: ({ last }) => last.at(-1) },
  { title: "samples", value: ({ count }) => sum(count) },
  { title: "gaps", value: ({ gaps }) => gaps.length },
];

interface Step {
  readonly rollup: Rollup;
  readonly at: number;
}
const STEP: readonly Column<Step>[] = [
  { title: "asset", value: ({ rollup }) => rollup.asset },
  { title: "channel", value: ({ rollup }) => rollup.channel },
  { title: "from", value: ({ rollup, at }) => time(rollup.atMs[at]) },
  ...(["count", "min", "mean", "max", "last"] as const).map(
    (name): Column<Step> => ({ title: name, value: ({ rollup, at }) => rollup[name][at] }),
  ),
  { title: "", value: ({ rollup, at }) => (rollup.backfilled.includes(at) ? "backfilled" : "") },
];

/** `bellwether samples current|rollups|export`: what the devices measured. */
export function addSampleCommands(program: Command, context: CliContext): void {
  const samples = program.command("samples").description("what the devices measured");
  const about = (command: Command) =>
    command
      .option("--asset <asset>", "only of this asset; may be repeated", collect)
      .option("--channel <channel>", "only this channel; may be repeated", collect);
  about(samples.command("current").description("the newest value of every channel")).action(
    async (query: { asset?: readonly string[]; channel?: readonly string[] }) => {
      const client = await context.client();
      context.print(await Array.fromAsync(client.list<Value>("/v1/values", { ...query, limit: 1_000 })), VALUE);
    },
  );
  about(samples.command("rollups").description("count, least, mean, most and last of channels over time"))
    .option("--since <time>", "from then on (ISO 8601); a day ago by default", moment)
    .option("--until <time>", "before then; now by default", moment)
    .option("--step <span>", 'how long one step is ("1m", "1h", "1d"); by default as long as --points asks for', span)
    .option("--points <count>", "as many steps at most", wholeNumber(1, 20_000))
    .option("--steps", "a row for every step instead of a plot")
    .action((options: RollupOptions) => rollups(context, options));
  addExport(samples, context);
}

interface RollupOptions {
  readonly asset?: readonly string[];
  readonly channel?: readonly string[];
  readonly since?: number;
  readonly until?: number;
  readonly step?: number;
  readonly points?: number;
  readonly steps?: boolean;
}

/** Pages of one channel follow each other in time; together they are one. */
function joined(pages: readonly Rollup[]): Rollup[] {
  const byChannel = Map.groupBy(pages, ({ site, asset, channel }) => `${site}/${asset}/${channel}`);
  return [...byChannel.values()].map((parts) => {
    const [first] = parts as [Rollup];
    const all = <T>(of: (rollup: Rollup) => readonly T[]) => parts.flatMap(of);
    let before = 0;
    const backfilled = parts.flatMap((part) => {
      const places = part.backfilled.map((place) => place + before);
      before += part.atMs.length;
      return places;
    });
    const toMs = most(parts.map((part) => part.toMs));
    const columns = { atMs: all((one) => one.atMs), count: all((one) => one.count), min: all((one) => one.min) };
    const more = { mean: all((one) => one.mean), max: all((one) => one.max), last: all((one) => one.last) };
    return { ...first, toMs, ...columns, ...more, backfilled, gaps: gapsOf(columns.atMs, first.stepMs) };
  });
}

function gapsOf(atMs: readonly number[], stepMs: number): [number, number][] {
  return atMs.flatMap((at, index): [number, number][] => {
    const endMs = index === 0 ? at : (atMs[index - 1] as number) + stepMs;
    return at > endMs ? [[endMs, at]] : [];
  });
}

async function rollups(context: CliContext, options: RollupOptions): Promise<void> {
  const { since, until, step, points, steps, ...about } = options;
  const times = { fromMs: since, toMs: until, stepMs: step, points: points ?? (step === undefined ? 120 : undefined) };
  const client = await context.client();
  const found = joined(await Array.fromAsync(client.list<Rollup>("/v1/rollups", { ...about, ...times })));
  if (context.format() === "table" && steps) {
    const rows = found.flatMap((rollup) => rollup.atMs.map((_, at): Step => ({ rollup, at })));
    context.print(rows, STEP);
  } else context.print(found, ROLLUP);
}

function addExport(samples: Command, context: CliContext): void {
  samples
    .command("export")
    .description("write committed samples to standard output, exactly as the devices measured them")
    .option("--device <device>", "only of this device")
    .option("--asset <asset>", "only of this asset; may be repeated", collect)
    .option("--channel <channel>", "only this channel; may be repeated", collect)
    .option("--since <time>", "only from then on (ISO 8601)", moment)
    .option("--until <time>", "only before then", moment)
    .option("--after <place>", 'go on after a row that was read before: "device/epoch/seq" of it')
    .addOption(
      new Option("--format <format>", "how to write them").choices(["csv", "ndjson", "parquet"]).default("csv"),
    )
    .action(
      async (options: {
        device?: string;
        asset?: readonly string[];
        channel?: readonly string[];
        since?: number;
        until?: number;
        after?: string;
        format: "csv" | "ndjson" | "parquet";
      }) => {
        const { since, until, format, ...about } = options;
        const client = await context.client();
        const structured = context.format() !== "table";
        const query = { ...about, fromMs: since, toMs: until, format: structured ? "ndjson" : format };
        const bytes = await client.stream("/v1/samples", query);
        if (!structured) for await (const chunk of bytes) await context.write(chunk);
        else await writeDocument(context, bytes);
      },
    );
}

/** NDJSON as one JSON array or YAML list, row by row: an export may be longer than memory. */
async function writeDocument(context: CliContext, bytes: AsyncIterable<Uint8Array>): Promise<void> {
  const json = context.format() === "json";
  let count = 0;
  for await (const line of lines(bytes)) {
    await context.write(json ? `${count === 0 ? "[" : ","}\n${line}` : stringify([JSON.parse(line)]));
    count += 1;
  }
  if (json) await context.write(count === 0 ? "[]\n" : "\n]\n");
  else if (count === 0) await context.write("[]\n");
}

async function* lines(bytes: AsyncIterable<Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const chunk of bytes) {
    const parts = (rest + decoder.decode(chunk, { stream: true })).split("\n");
    rest = parts.pop() ?? "";
    yield* parts.filter((part) => part !== "");
  }
  if (rest !== "") yield rest;
}
