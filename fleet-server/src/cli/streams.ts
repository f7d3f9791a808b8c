import { isUtf8 } from "node:buffer";
import { type Command, Option } from "commander";
import { type CliContext, wholeNumber } from "./context.io.ts";
import { type Column, member, time } from "./print.ts";

interface Prediction {
  readonly device: string;
  readonly asset: string;
  readonly observedAtMs: number;
  readonly model: string;
  readonly version: number;
  readonly value?: number;
  readonly alert?: boolean;
  readonly error?: string;
}
interface Event {
  readonly device: string;
  readonly atMs: number;
  readonly kind: string;
  readonly severity: string;
  readonly code: string;
  readonly text: string;
}
interface Gap {
  readonly device: string;
  readonly stream: string;
  readonly epoch: number;
  readonly fromSeq: number;
  readonly toSeq: number;
  readonly reason: string;
  readonly atMs: number;
}
interface DeadLetter {
  readonly id: number;
  readonly device: string;
  readonly stream: string;
  readonly code: string;
  readonly message: string;
  readonly byteCount: number;
  readonly atMs: number;
}

const at = <T>(title: string, of: (row: T) => number): Column<T> => ({ title, value: (row) => time(of(row)) });

const PREDICTION: readonly Column<Prediction>[] = [
  at("observed", ({ observedAtMs }) => observedAtMs),
  member("device"),
  member("asset"),
  { title: "model", value: ({ model, version }) => `${model} ${version}` },
  { title: "value", value: ({ value }) => value },
  { title: "alert", value: ({ alert }) => (alert ? "alert" : "") },
  { title: "error", value: ({ error }) => error ?? "" },
];
const EVENT: readonly Column<Event>[] = [
  at("at", ({ atMs }) => atMs),
  member("device"),
  member("kind"),
  member("severity"),
  member("code"),
  member("text"),
];
const GAP: readonly Column<Gap>[] = [
  at("at", ({ atMs }) => atMs),
  member("device"),
  member("stream"),
  member("epoch"),
  { title: "records", value: ({ fromSeq, toSeq }) => toSeq - fromSeq + 1 },
  member("reason"),
];
const DEAD_LETTER: readonly Column<DeadLetter>[] = [
  member("id"),
  at("at", ({ atMs }) => atMs),
  member("device"),
  member("stream"),
  member("code"),
  member("byteCount", "bytes"),
  member("message"),
];

interface DeadLetterDetail extends DeadLetter {
  readonly bytesBase64: string | null;
}
interface Replayed {
  readonly id: number;
  readonly records: number;
}
const LETTER_DETAIL: readonly Column<DeadLetterDetail>[] = [
  ...DEAD_LETTER,
  { title: "content", value: ({ bytesBase64 }) => contentOf(bytesBase64) },
];
const REPLAYED: readonly Column<Replayed>[] = [member("id"), member("records")];

/** A message as people read it: its text where it is one, else base64. */
function contentOf(base64: string | null): string {
  if (base64 === null) return "not kept";
  const bytes = Buffer.from(base64, "base64");
  return isUtf8(bytes) ? JSON.stringify(bytes.toString("utf8")).slice(1, -1) : base64;
}

function letterPath(id: string): string {
  return `/v1/dead-letters/${encodeURIComponent(id)}`;
}

interface About {
  readonly device?: string;
  readonly asset?: string;
  readonly model?: string;
  readonly limit?: number;
}

/** `bellwether predictions`, `events`, `gaps`, `dead-letters`: what was committed, and what was not. */
export function addStreamCommands(program: Command, context: CliContext): void {
  const limit = new Option("--limit <count>", "how many at most").argParser(wholeNumber(1, 1_000_000)).default(1000);
  const device = ["--device <device>", "only of this device"] as const;
  program
    .command("predictions")
    .description("list committed predictions, oldest first")
    .option(...device)
    .option("--asset <asset>", "only of this asset")
    .option("--model <model>", "only of this model")
    .addOption(limit)
    .action((about: About) => listStream(context, "/v1/predictions", about, PREDICTION));
  program
    .command("events")
    .description("list alerts, device and security events, oldest first")
    .option(...device)
    .addOption(limit)
    .action((about: About) => listStream(context, "/v1/events", about, EVENT));
  const letters = program
    .command("dead-letters")
    .description("list messages that could not be understood")
    .option(...device)
    .addOption(limit)
    .action((about: About) => listStream(context, "/v1/dead-letters", about, DEAD_LETTER));
  letters
    .command("show <id>")
    .description("show one of them, with its bytes")
    .action(async (id: string) => {
      context.show(await (await context.client()).get<DeadLetterDetail>(letterPath(id)), LETTER_DETAIL);
    });
  letters
    .command("replay <ids...>")
    .description("take them again, as their devices sent them; each goes once it is stored")
    .action(async (ids: string[]) => {
      const client = await context.client();
      const replayed: Replayed[] = [];
      for (const id of ids) replayed.push(await client.post<Replayed>(`${letterPath(id)}/replay`));
      context.print(replayed, REPLAYED);
    });
  program
    .command("gaps")
    .description("list what devices had to drop or lost, newest first")
    .option(...device)
    .addOption(limit)
    .action((about: About) => listStream(context, "/v1/gaps", about, GAP));
}

async function listStream<T>(
  context: CliContext,
  path: string,
  { limit = 1000, ...about }: About,
  columns: readonly Column<T>[],
): Promise<void> {
  const rows: T[] = [];
  for await (const row of (await context.client()).list<T>(path, { ...about, limit: Math.min(limit, 1000) })) {
    if (rows.length === limit) {
      context.say(`There are more than ${limit}; ask for more with --limit, or for less with a filter.`);
      break;
    }
    rows.push(row);
  }
  context.print(rows, columns);
}
