import { randomBytes } from "node:crypto";
import { chmod, readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { err, ok, type Result } from "@bellwether/protocol/result.ts";
import { keyPairOf } from "@bellwether/protocol/trust/keys.ts";
import { makeFolder, writeDurably } from "../files.io.ts";
import {
  isSealed,
  type KeyFile,
  keyFileText,
  type OfflineKey,
  type OfflineRole,
  openKeyFile,
  readKeyFile,
} from "./key-file.ts";

/** Asks for the passphrase of sealed keys, once. */
export type AskPassphrase = () => Promise<string | undefined>;

/** A folder of offline keys: key files, and the newest root as its holder knows it. */
export interface KeyFolder {
  readonly dir: string;
  readonly keys: readonly { readonly file: string; readonly key: KeyFile }[];
  /** The root's text; undefined before the first one was made. */
  readonly root: string | undefined;
}

/** Reads a folder without opening a key. */
export async function readKeyFolder(dir: string): Promise<Result<KeyFolder>> {
  const names = await readdir(dir).catch((cause: NodeJS.ErrnoException) => {
    if (cause.code === "ENOENT") return [] as string[];
    throw cause;
  });
  const keys: { file: string; key: KeyFile }[] = [];
  for (const name of names.filter((one) => one.endsWith(".key")).toSorted()) {
    const file = join(dir, name);
    const key = readKeyFile(await readFile(file, "utf8"), file);
    if (!key.ok) return key;
    keys.push({ file, key: key.value });
  }
  const root = names.includes(ROOT_FILE) ? await readFile(join(dir, ROOT_FILE), "utf8") : undefined;
  return ok({ dir, keys, root });
}

/** The folder's keys, opened; `KEYS_MISSING` where it has none. */
export async function openKeys({ dir, keys }: KeyFolder, ask: AskPassphrase): Promise<Result<readonly OfflineKey[]>> {
  if (keys.length === 0) return err("KEYS_MISSING", { dir });
  const passphrase = keys.some(({ key }) => isSealed(key)) ? await ask() : undefined;
  const opened: OfflineKey[] = [];
  for (const { file, key } of keys) {
    const one = openKeyFile(key, file, passphrase);
    if (!one.ok) return one;
    opened.push(one.value);
  }
  return ok(opened);
}

const ROOT_FILE = "root.json";

/** Keeps a newer root in the folder. */
export async function keepRoot(dir: string, text: string): Promise<void> {
  await writeDurably(join(dir, ROOT_FILE), text, 0o644);
}

/** Makes a key and writes its file, sealed where there is a passphrase. */
export async function makeKey(dir: string, role: OfflineRole, passphrase: string | undefined): Promise<OfflineKey> {
  const key: OfflineKey = { role, pair: keyPairOf(randomBytes(32)) };
  await keepKey(dir, key, passphrase);
  return key;
}

/** Writes a key's file, for nobody but its owner to read. */
export async function keepKey(dir: string, key: OfflineKey, passphrase: string | undefined): Promise<void> {
  await makeFolder(dir);
  await chmod(dir, 0o700);
  const seal = passphrase === undefined ? undefined : { passphrase, salt: randomBytes(16), nonce: randomBytes(12) };
  const name = Buffer.from(key.pair.publicKey).toString("hex").slice(0, 8);
  await writeDurably(join(dir, `${key.role}-${name}.key`), keyFileText(key, seal), 0o600);
}
