import { FEED_CLASSES } from "@bellwether/protocol/topics.ts";
import { type Command, InvalidArgumentError } from "commander";
import type { EnrolmentTokenRecord, SubscriberRecord } from "../store/devices.ts";
import { at } from "./client.io.ts";
import { type CliContext, collect, collectPair, readText, span, wholeNumber } from "./context.io.ts";
import { must } from "./failure.ts";
import { type Column, labels, member, time } from "./print.ts";
import { readSerials } from "./serials.ts";

/** `bellwether enrolment-tokens` and `bellwether subscribers`: how devices and feed readers get in. */
export function addAccessCommands(program: Command, context: CliContext): void {
  addEnrolmentCommands(program, context);
  addSubscriberCommands(program, context);
}

/** Prints a secret alone in a table, so that it can go to a file, and the whole answer otherwise. */
async function printSecret(context: CliContext, answer: { readonly secret: string }, sentence: string): Promise<void> {
  if (context.format() === "table") await context.write(`${answer.secret}\n`);
  else context.show(answer, []);
  context.say(`${sentence} The secret is shown only now.`);
}

interface NewEnrolment {
  readonly site: string;
  readonly uses?: number;
  readonly ttl?: number;
  readonly label?: Readonly<Record<string, string>>;
  readonly serial?: readonly string[];
  readonly serialList?: string;
  readonly preapproved: boolean;
}

function addEnrolmentCommands(program: Command, context: CliContext): void {
  const tokens = program.command("enrolment-tokens").description("tokens that let new devices in");
  const columns: readonly Column<EnrolmentTokenRecord>[] = [
    member("id"),
    member("site"),
    { title: "uses left", value: ({ usesLeft }) => usesLeft },
    { title: "labels", value: (token) => labels(token.labels) },
    { title: "approval", value: ({ preapproved }) => (preapproved ? "at once" : "waits") },
    {
      title: "expires",
      value: ({ revoked, expiresAtMs }) => (revoked ? "revoked" : time(expiresAtMs)),
    },
    { title: "serials", value: ({ serials }) => (serials ? serials.length : "any") },
  ];
  tokens
    .command("list")
    .description("list enrolment tokens, never their secrets")
    .action(async () => {
      const client = await context.client();
      const all = client.list<EnrolmentTokenRecord>("/v1/enrolment-tokens", { limit: 1_000 });
      context.print(await Array.fromAsync(all), columns);
    });
  tokens
    .command("create")
    .description("make an enrolment token; its secret is printed once, on standard output")
    .requiredOption("--site <site>", "the site its devices belong to")
    .option("--uses <count>", "devices it lets in (1)", wholeNumber(1, 100_000))
    .option("--ttl <span>", 'how long it is good, as in "12h" (one day)', span)
    .option("--label <name=value>", "a label its devices get; may be repeated", collectPair)
    .option("--serial <serial>", "only devices with these serial numbers; may be repeated", collect)
    .option("--serial-list <file>", "the same from a CSV file: its column `serial`, or its only column")
    .option("--no-preapproved", "its devices wait for `devices approve`")
    .action(async ({ site, uses, ttl, label, serial, serialList, preapproved }: NewEnrolment) => {
      const listed = serialList === undefined ? [] : must(readSerials(await readText(serialList), serialList));
      const serials = [...new Set([...(serial ?? []), ...listed])];
      const client = await context.client();
      const made = await client.post<{ secret: string; token: EnrolmentTokenRecord }>("/v1/enrolment-tokens", {
        site,
        preapproved,
        // A list lets in each of its machines, unless somebody says otherwise.
        ...(uses === undefined ? (serials.length > 0 ? { uses: serials.length } : {}) : { uses }),
        ...(ttl === undefined ? {} : { ttlSeconds: Math.floor(ttl / 1000) }),
        ...(label ? { labels: label } : {}),
        ...(serials.length > 0 ? { serials } : {}),
      });
      await printSecret(context, made, `Enrolment token ${made.token.id} lets ${made.token.usesLeft} device(s) in.`);
    });
  tokens
    .command("revoke <id>")
    .description("revoke an enrolment token; devices it let in stay")
    .action(async (id: string) => {
      const path = at`/v1/enrolment-tokens/${id}/revoke`;
      context.show(await (await context.client()).post<EnrolmentTokenRecord>(path), columns);
    });
}

interface NewSubscriber {
  readonly site: readonly string[];
  readonly class?: readonly string[];
}

function feedClasses(text: string, before: readonly string[] | undefined): readonly string[] {
  if (!FEED_CLASSES.some((name) => name === text))
    throw new InvalidArgumentError(`It must be one of ${FEED_CLASSES.join(", ")}.`);
  return collect(text, before);
}

function addSubscriberCommands(program: Command, context: CliContext): void {
  const subscribers = program.command("subscribers").description("read-only MQTT accounts for the feed");
  const columns: readonly Column<SubscriberRecord>[] = [
    member("account"),
    { title: "sites", value: ({ sites }) => sites.join(",") },
    { title: "classes", value: ({ classes }) => classes?.join(",") ?? "(all)" },
    { title: "since", value: ({ createdAtMs }) => time(createdAtMs) },
    { title: "standing", value: ({ revoked }) => (revoked ? "revoked" : "good") },
  ];
  subscribers
    .command("list")
    .description("list accounts, never their secrets")
    .action(async () => {
      const { items } = await (await context.client()).get<{ items: SubscriberRecord[] }>("/v1/subscribers");
      context.print(items, columns);
    });
  subscribers
    .command("create <account>")
    .description("make an account; its password is printed once, on standard output")
    .requiredOption("--site <site>", "a site whose feed it reads; may be repeated", collect)
    .option(
      "--class <class>",
      `what of the feed it reads: ${FEED_CLASSES.join(", ")}; all of it, or repeated`,
      feedClasses,
    )
    .action(async (account: string, { site, class: classes }: NewSubscriber) => {
      const made = await (await context.client()).post<{ secret: string }>("/v1/subscribers", {
        account,
        sites: site,
        ...(classes === undefined ? {} : { classes }),
      });
      await printSecret(context, made, `Subscriber ${account} reads the feed of ${site.join(", ")}.`);
    });
  subscribers
    .command("revoke <account>")
    .description("revoke an account and close its connections")
    .action(async (account: string) => {
      const path = at`/v1/subscribers/${account}/revoke`;
      context.show(await (await context.client()).post<SubscriberRecord>(path), columns);
    });
}
