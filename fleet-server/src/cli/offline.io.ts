import { dirname, resolve } from "node:path";
import type { Command } from "commander";
import { writeDurably } from "../files.io.ts";
import type { ReleaseRequest } from "../registry/release-request.ts";
import { type FileSigning, readSignedFile, type SignedFile, signFile } from "../registry/signed-file.ts";
import { type CliContext, parseJson, readText } from "./context.io.ts";
import { failure, must } from "./failure.ts";
import { type AskPassphrase, keepRoot, openKeys, readKeyFolder } from "./key-folder.io.ts";

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
  const { env, askSecret } = context.world;
  return async () => {
    const text =
      passphraseFile !== undefined
        ? (await readText(passphraseFile)).replace(/\r?\n$/, "")
        : (env["BELLWETHER_PASSPHRASE"] ?? (await askSecret?.("Passphrase of the offline keys: ")));
    return text === "" ? undefined : text;
  };
}

/** Signs all that the keys of a folder may sign, and says what; no server is asked. */
export async function signWithFolder(
  context: CliContext,
  file: SignedFile,
  options: KeysOptions & { readonly lasts?: number },
): Promise<FileSigning> {
  const dir = keysFolder(context, options);
  const folder = must(await readKeyFolder(dir));
  const { root } = folder;
  if (root === undefined) throw failure("KEYS_MISSING", { dir });
  const keys = must(await openKeys(folder, passphraseOf(context, options))).map(({ pair }) => pair);
  const signing = must(signFile(file, { root, keys }, context.world.nowMs(), options.lasts));
  for (const sentence of signing.sentences) context.say(sentence);
  // Whoever completes a root goes on from it.
  if (signing.missing === 0 && signing.file.root !== undefined) await keepRoot(dir, signing.file.root);
  return signing;
}

/** Reads a file of the offline keys: a request, or what was signed so far. */
export async function readOfflineFile(file: string): Promise<SignedFile> {
  return must(readSignedFile(parseJson(await readText(file), file)));
}

/** Writes such a file, and says whether it is complete. */
export async function writeSigned(context: CliContext, path: string, { file, missing }: FileSigning): Promise<void> {
  await writeDurably(path, `${JSON.stringify(file, undefined, 1)}\n`, 0o644);
  const sign = 'other holders sign it with "bellwether release sign"';
  context.say(missing === 0 ? `${path} can be published.` : `${path} still needs ${missing} signatures: ${sign}.`);
}

/** Brings what was signed to the server. */
export async function publishFile(context: CliContext, { root, targets }: SignedFile): Promise<Publication> {
  const client = await context.client();
  const body = { ...(root === undefined ? {} : { roots: [root] }), ...(targets === undefined ? {} : { targets }) };
  return client.post<Publication>("/v1/repository/publications", body);
}

/** One thing that somebody at the command line wants released or changed. */
export type Wanted =
  | { readonly change: "release"; readonly model: string; readonly version: number }
  | { readonly change: "grant" | "revoke" | "on" | "off"; readonly model: string; readonly cohort: string }
  | { readonly change: "director" };

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
  const { file, missing } = await signWithFolder(context, { v: 1, request }, options);
  if (missing > 0) throw failure("SIGNATURES_MISSING", { missing });
  return publishFile(context, file);
}
