import { type Command, InvalidArgumentError, Option } from "commander";
import { ROLES, type Role } from "../api/caller.ts";
import type { TokenRecord } from "../store/governance.ts";
import { at } from "./client.io.ts";
import { type CliContext, collect, span } from "./context.io.ts";
import { age, type Column, member, time } from "./print.ts";

/** `bellwether tokens`: who may use the server. */
export function addTokenCommands(program: Command, context: CliContext): void {
  const tokens = program.command("tokens").description("tokens of people and programs");
  const columns = (): Column<TokenRecord>[] => [
    member("id"),
    member("name"),
    { title: "roles", value: ({ roles }) => roles.join(",") },
    { title: "sites", value: ({ sites }) => sites?.join(",") ?? "(all)" },
    { title: "standing", value: (token) => standingOf(token, context.world.nowMs()) },
    { title: "expires", value: ({ expiresAtMs }) => time(expiresAtMs) || "never" },
    {
      title: "last used",
      value: ({ lastUsedAtMs }) =>
        lastUsedAtMs === undefined ? "never" : `${age(context.world.nowMs() - lastUsedAtMs)} ago`,
    },
  ];
  tokens
    .command("list")
    .description("list tokens, never their secrets")
    .option("--all", "revoked and expired ones too")
    .action(async ({ all }: { all?: boolean }) => {
      const rows = await Array.fromAsync((await context.client()).list<TokenRecord>("/v1/tokens"));
      const nowMs = context.world.nowMs();
      context.print(all ? rows : rows.filter((token) => standingOf(token, nowMs) === "good"), columns());
    });
  tokens
    .command("create <name>")
    .description("make a token; its secret is printed once, on standard output")
    .addOption(
      new Option("--role <role>", `what it may do (${ROLES.join(", ")}); may be repeated`)
        .argParser(role)
        .makeOptionMandatory(),
    )
    .option("--site <site>", "limit it to this site; may be repeated", collect)
    .option("--ttl <span>", 'how long it is good, as in "90d", "12h", "30m"; without it until revoked', span)
    .action(async (name: string, options: { role: Role[]; site?: string[]; ttl?: number }) => {
      const made = await (await context.client()).post<{ secret: string; token: TokenRecord }>("/v1/tokens", {
        name,
        roles: options.role,
        ...(options.site ? { sites: options.site } : {}),
        ...(options.ttl === undefined ? {} : { ttlSeconds: Math.floor(options.ttl / 1000) }),
      });
      // In a table the secret stands alone, so that `bellwether tokens create x > file` is a token file.
      if (context.format() === "table") await context.write(`${made.secret}\n`);
      else context.show(made, []);
      context.say(`Token ${made.token.id} (${name}) is made; the secret is shown only now.`);
    });
  tokens
    .command("revoke <id>")
    .description("revoke a token at once and for good")
    .action(async (id: string) => {
      const path = at`/v1/tokens/${id}/revoke`;
      context.show(await (await context.client()).post<TokenRecord>(path), columns());
    });
}

function role(text: string, before: readonly string[] | undefined): readonly string[] {
  if (ROLES.some((known) => known === text)) return collect(text, before);
  throw new InvalidArgumentError(`It must be one of ${ROLES.join(", ")}.`);
}

function standingOf({ revokedAtMs, expiresAtMs }: TokenRecord, nowMs: number): string {
  if (revokedAtMs !== undefined) return "revoked";
  return expiresAtMs !== undefined && expiresAtMs <= nowMs ? "expired" : "good";
}
