import { access } from "node:fs/promises";
import type { Command } from "commander";
import { type Expiry, judgeExpiry } from "../registry/expiries.ts";
import { LIFETIMES_MS, ROLES } from "../registry/metadata.ts";
import { readRoot } from "../registry/read-metadata.ts";
import type { CliContext } from "./context.io.ts";
import { failure, must } from "./failure.ts";
import { isSealed, type KeyFile } from "./key-file.ts";
import { readKeyFolder } from "./key-folder.io.ts";
import type { KeysOptions } from "./offline.io.ts";
import { type Column, member, time } from "./print.ts";

const EXPIRY_COLUMNS: readonly Column<Omit<Expiry, "lifeMs">>[] = [
  member("role"),
  member("version"),
  { title: "expires", value: ({ expiresAtMs }) => time(expiresAtMs) },
  { title: "days left", value: ({ daysLeft }) => daysLeft },
  { title: "alarm", value: ({ alarm }) => (alarm === null ? "" : alarm === "expired" ? "EXPIRED" : `${alarm} days`) },
  { title: "renewed by", value: ({ renewedBy }) => renewedBy },
];

interface NamedKey {
  readonly role: string;
  readonly publicKey: string;
  readonly threshold: number;
  /** Where its secret half is, as far as this folder tells. */
  readonly here: "sealed" | "in the clear" | "elsewhere";
  readonly expiry: Expiry;
}
const KEY_COLUMNS: readonly Column<NamedKey>[] = [
  member("role"),
  { title: "key", value: ({ publicKey }) => publicKey.slice(0, 16) },
  { title: "must sign", value: ({ threshold }) => threshold },
  member("here"),
  { title: "root expires", value: ({ expiry }) => time(expiry.expiresAtMs) },
  { title: "days left", value: ({ expiry }) => expiry.daysLeft },
];

/** `keys status`: of the server, or of a folder of keys without asking any server. */
export function addKeyStatus(keys: Command, context: CliContext): void {
  keys
    .command("status")
    .description("when the server's signed metadata expire; with --keys, whom the root of a folder lets sign")
    .option("--keys <folder>", "a folder of offline keys; no server is asked")
    .action(async ({ keys: dir }: KeysOptions) => {
      if (dir !== undefined) return context.print(await keysOf(dir, context.world.nowMs()), KEY_COLUMNS);
      const client = await context.client();
      const { items } = await client.get<{ items: Omit<Expiry, "lifeMs">[] }>("/v1/repository/expiries");
      context.print(items, EXPIRY_COLUMNS);
    });
}

async function keysOf(dir: string, nowMs: number): Promise<NamedKey[]> {
  await access(dir).catch(() => {
    throw failure("KEYS_MISSING", { dir });
  });
  const folder = must(await readKeyFolder(dir));
  if (folder.root === undefined) throw failure("KEYS_MISSING", { dir });
  const { content } = must(readRoot(folder.root));
  const { version, expiresAtMs } = content;
  const signed = { role: "root", version, expiresAtMs, lifeMs: LIFETIMES_MS.root, renewedBy: "owners" } as const;
  const expiry = judgeExpiry(signed, nowMs);
  return ROLES.flatMap((role) =>
    content.roles[role].publicKeys.map((key): NamedKey => {
      const publicKey = Buffer.from(key).toString("hex");
      const file = folder.keys.find((one) => one.key.publicKey === publicKey)?.key;
      return { role, publicKey, threshold: content.roles[role].threshold, here: whereIs(file), expiry };
    }),
  );
}

function whereIs(file: KeyFile | undefined): NamedKey["here"] {
  if (file === undefined) return "elsewhere";
  return isSealed(file) ? "sealed" : "in the clear";
}
