import { type AuditEntry, CHAIN_START, type ChainHead, verifyChain } from "@bellwether/protocol/audit.ts";
import { type Command, InvalidArgumentError } from "commander";
import { type CliContext, moment } from "./context.io.ts";
import { failure, must } from "./failure.ts";
import { type Column, member, time } from "./print.ts";

const COLUMNS: Column<AuditEntry>[] = [
  member("seq"),
  { title: "at", value: ({ atMs }) => time(atMs) },
  member("caller"),
  member("operation"),
  member("target"),
  member("http"),
  member("code"),
];

/** `bellwether audit`: who changed what, and whether the log is whole. */
export function addAuditCommands(program: Command, context: CliContext): void {
  const audit = program.command("audit").description("the log of every mutating call");
  audit
    .command("list")
    .description("list entries, oldest first")
    .option("--operation <name>", 'only this operation ("createToken")')
    .option("--caller <caller>", 'only this caller ("token:t-…:name", "device:…")')
    .option("--since <time>", "only from then on (ISO 8601)", moment)
    .option("--until <time>", "only before then", moment)
    .action(async (options: { operation?: string; caller?: string; since?: number; until?: number }) => {
      const { since: sinceMs, until: untilMs, ...filter } = options;
      const entries = (await context.client()).list<AuditEntry>("/v1/audit", {
        ...filter,
        sinceMs,
        untilMs,
        limit: 1000,
      });
      context.print(await Array.fromAsync(entries), COLUMNS);
    });
  audit
    .command("verify")
    .description("fetch the whole log and check its chain on this machine")
    .option(
      "--from <seq:digest>",
      "a head printed by an earlier verify: notices a log that was cut off or rewritten",
      head,
    )
    .action(async ({ from }: { from?: ChainHead }) => {
      const client = await context.client();
      let reached = from ?? { seq: 0, digest: CHAIN_START };
      let count = 0;
      const seen = await client.get<ChainHead>("/v1/audit/head");
      if (seen.seq < reached.seq)
        throw failure("AUDIT_CHAIN_BROKEN", { seq: seen.seq, reason: `it is the last, and there were ${reached.seq}` });
      for await (const entry of client.list<AuditEntry>("/v1/audit", { afterSeq: reached.seq, limit: 1000 })) {
        reached = must(verifyChain(reached, [entry]));
        count += 1;
      }
      context.show({ whole: true, entries: count, head: `${reached.seq}:${reached.digest}` }, [
        member("whole"),
        member("entries"),
        member("head"),
      ]);
    });
}

function head(text: string): ChainHead {
  const match = /^(\d{1,15}):(sha256:[0-9a-f]{64})$/.exec(text);
  if (!match) throw new InvalidArgumentError('It must look like "17:sha256:…", as an earlier verify printed it.');
  return { seq: Number(match[1]), digest: match[2]! };
}
