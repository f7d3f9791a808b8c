import { type Command, Option } from "commander";
import { at } from "./client.io.ts";
import { type CliContext, wholeNumber } from "./context.io.ts";
import { type Column, member, time } from "./print.ts";

interface Feature {
  readonly feature: string;
  readonly shift: number;
  readonly t: number;
  readonly p: number;
  readonly devices: readonly string[];
  readonly stands: boolean;
}
interface Verdict {
  readonly cohort: string;
  readonly model: string;
  readonly phase: string;
  readonly text: string;
  readonly enteredAtMs: number;
  readonly devices: readonly string[];
  readonly assets: readonly string[];
  readonly warming: readonly string[];
  readonly features: readonly Feature[];
}
interface Window {
  readonly id: number;
  readonly device: string;
  readonly record: {
    readonly asset: string;
    readonly model: string;
    readonly version: number;
    readonly fromMs: number;
    readonly observedAtMs: number;
    readonly phase: string;
    readonly verdicts: readonly { readonly feature: string; readonly kind: string; readonly direction: string }[];
    readonly quality: readonly { readonly text: string }[];
  };
}

const VERDICT: readonly Column<Verdict>[] = [
  member("cohort"),
  member("model"),
  member("phase"),
  { title: "since", value: ({ enteredAtMs }) => time(enteredAtMs) },
  { title: "devices", value: ({ devices }) => devices.length },
  { title: "assets", value: ({ assets, warming }) => `${assets.length}/${assets.length + warming.length}` },
  member("text"),
];
const FEATURE: readonly Column<Feature>[] = [
  member("feature"),
  { title: "shift (sigma)", value: ({ shift }) => shift.toFixed(2) },
  { title: "t", value: ({ t }) => t.toFixed(1) },
  { title: "p", value: ({ p }) => p.toExponential(1) },
  { title: "devices", value: ({ devices }) => devices.length },
  { title: "stands", value: ({ stands }) => (stands ? "yes" : "") },
];
const WINDOW: readonly Column<Window>[] = [
  { title: "from", value: ({ record }) => time(record.fromMs) },
  { title: "to", value: ({ record }) => time(record.observedAtMs) },
  member("device"),
  { title: "asset", value: ({ record }) => record.asset },
  { title: "model", value: ({ record }) => `${record.model} ${record.version}` },
  { title: "phase", value: ({ record }) => record.phase },
  {
    title: "charts",
    value: ({ record }) =>
      record.verdicts.map(({ feature, kind, direction }) => `${feature} ${kind} ${direction}`).join(", "),
  },
  { title: "data", value: ({ record }) => record.quality.map(({ text }) => text).join("; ") },
];

/** `bellwether drift …`: where cohorts stand, why, and the windows behind it. */
export function addDriftCommands(program: Command, context: CliContext): void {
  const drift = program.command("drift").description("what has changed on cohorts since their model was made");
  drift
    .command("list")
    .description("where every cohort stands under every model")
    .option("--cohort <cohort>", "only of this cohort")
    .option("--model <model>", "only under this model")
    .action(async (about: { cohort?: string; model?: string }) => {
      const { items } = await (await context.client()).get<{ items: Verdict[] }>("/v1/drift", { ...about });
      context.print(items, VERDICT);
    });
  drift
    .command("show <cohort> <model>")
    .description("one cohort under one model: what moved, and what was called before")
    .action(async (cohort: string, model: string) => {
      const client = await context.client();
      const found = await client.get<{ verdicts: Verdict[]; history: Verdict[] }>(at`/v1/drift/${cohort}/${model}`);
      if (context.format() !== "table") return context.show(found, []);
      context.print(found.verdicts, VERDICT);
      for (const { features } of found.verdicts) context.print(features, FEATURE);
      context.print(found.history, VERDICT);
    });
  drift
    .command("windows")
    .description("closed drift windows of single assets, in the order of their commit")
    .option("--device <device>", "only of this device")
    .option("--asset <asset>", "only of this asset")
    .option("--model <model>", "only under this model")
    .addOption(new Option("--limit <count>", "how many at most").argParser(wholeNumber(1, 1_000_000)).default(1000))
    .action(async ({ limit, ...about }: { limit: number; device?: string; asset?: string; model?: string }) => {
      const client = await context.client();
      const rows: Window[] = [];
      for await (const row of client.list<Window>("/v1/drift-windows", { ...about, limit: Math.min(limit, 1000) })) {
        if (rows.length === limit) break;
        rows.push(row);
      }
      context.print(rows, WINDOW);
    });
}
