import { dirname, resolve } from "node:path";
import type { Command } from "commander";
import { changeSentence, type ReleaseRequest, type SignedRequest, signRequest } from "../registry/release-request.ts";
import { type CliContext, readText } from "./context.io.ts";
import { failure, must } from "./failure.ts";
import { type AskPassphrase, openKeys, readKeyFolder, rootOf } from "./key-folder.io.ts";

/** Options of every command that uses offline keys. */
export interface KeysOptions {
  readonly keys?: string;
  readonly passphraseFile?: string;
}

/** Adds them. */
export function withKeysOptions(command: Command): Command {
  return command
    .option(
      "--keys <folder>",
      "folder of the offline keys (or BELLWETHER_KEYS); else the one beside the data directory",
    )
    .option("--passphrase-file <file>", "a file that holds their passphrase (or BELLWETHER_PASSPHRASE itself)");
}

/** Where development keys are by default: beside a server's data directory, never in it. */
export function keysBeside(dataDir: string, named: string | undefined): string {
  return resolve(named ?? `${resolve(dataDir)}-keys`);
}

/**
 * The folder of offline keys: as it is said, or, on the machine of a first try, the one beside the data directory in which
 * the administrator's token lies.
 */
export function keysFolder(context: CliContext, { keys }: KeysOptions): string {
  const { env } = context.world;
  const named = keys ?? env["BELLWETHER_KEYS"];
  const tokenFile = context.tokenFile();
  if (named === undefined && tokenFile === undefined) throw failure("KEYS_UNNAMED");
  return keysBeside(dirname(tokenFile ?? "."), named);
}

/** Asks for the passphrase: a file, the environment, or the person at the terminal. Never an argument. */
export function passphraseOf(context: CliContext, { passphraseFile }: KeysOptions): AskPassphrase {
  return async () => {
    const text =
      passphraseFile === undefined
        ? context.world.env["BELLWETHER_PASSPHRASE"]
        : (await readText(passphraseFile)).replace(/\r?\n$/, "");
    return text === "" ? undefined : text;
  };
}

/** Signs a request with the targets keys of a folder, and says each change; no server is asked. */
export async function signWithFolder(
  context: CliContext,
  request: ReleaseRequest,
  options: KeysOptions & { readonly lifeMs?: number; readonly before?: string },
): Promise<{ readonly signed: SignedRequest; readonly missing: number }> {
  const folder = must(await readKeyFolder(keysFolder(context, options)));
  const root = must(rootOf(folder)).metadata;
  const keys = must(await openKeys(folder, "targets", passphraseOf(context, options))).map(({ pair }) => pair);
  for (const change of request.changes) context.say(changeSentence(change));
  const { lifeMs, before } = options;
  const more = { ...(lifeMs === undefined ? {} : { lifeMs }), ...(before === undefined ? {} : { before }) };
  return must(signRequest(request, { root, keys }, context.world.nowMs(), more));
}

/** One thing that somebody at the command line wants released or changed. */
export type Wanted =
  | { readonly change: "release"; readonly model: string; readonly version: number }
  | { readonly change: "grant" | "revoke" | "on" | "off"; readonly model: string; readonly cohort: string };

/** What was published. */
export interface Publication {
  readonly targets: number;
  readonly released: readonly { readonly model: string; readonly version: number }[];
  readonly withdrawn: readonly { readonly model: string; readonly version: number }[];
}

/** Request, signature and publication in one go, where server and keys can be reached from this one process. */
export async function signAndPublish(
  context: CliContext,
  changes: readonly Wanted[],
  options: KeysOptions,
): Promise<Publication> {
  const client = await context.client();
  const request = await client.post<ReleaseRequest>("/v1/repository/requests", { changes });
  const { signed, missing } = await signWithFolder(context, request, options);
  if (missing > 0) throw failure("SIGNATURES_MISSING", { missing });
  return client.post<Publication>("/v1/repository/publications", { targets: signed.targets });
}
