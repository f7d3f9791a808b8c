import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { copyFile, mkdir, open, readdir, readFile, stat } from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import { err, ok, type Result } from "@bellwether/protocol/result.ts";
import { integer } from "@bellwether/protocol/schema.ts";
import { type Static, Type } from "typebox";
import { writeDurably } from "../files.io.ts";

/** What a backup holds, by name and digest; it is written last, so that a backup without it is none. */
export const BackupIndex = Type.Object({
  v: Type.Literal(1),
  /** Everything that was committed before is in it. */
  atMs: integer({ minimum: 0 }),
  files: Type.Array(
    Type.Object({
      path: Type.String({ pattern: "^(?!/)(?!.*\\.\\.)[^\\u0000]{1,400}$" }),
      bytes: integer({ minimum: 0 }),
      sha256: Type.String({ pattern: "^[0-9a-f]{64}$" }),
    }),
  ),
});
export type BackupIndex = Static<typeof BackupIndex>;

export const INDEX_FILE = "backup.json";
export const STORE_FILE = "fleet.sqlite";
// The store is copied by itself; the administrator's token is made anew; what is half-written is nobody's.
const LEFT_OUT = /^(fleet\.(sqlite.*|lock)|admin\.token(\.new)?|restored\.json)$|\.tmp$|^blobs\/arriving\//;

/** What can be taken again where a file changed while it was copied. */
const TRIES = 5;

/**
 * Copies a server's data directory while it runs: the store as it is at one moment, then the files beside it. Blobs never
 * change; metadata, keys and settings are taken again where they changed meanwhile. The copy holds the server's online keys and
 * secrets, and none that can release.
 */
export async function makeBackup(options: {
  readonly dir: string;
  readonly out: string;
  /** Writes a copy of a running store, consistent by itself. */
  snapshot(file: string, out: string): void;
  readonly nowMs: number;
}): Promise<Result<BackupIndex>> {
  const { dir, out } = options;
  if (!(await isFile(join(dir, STORE_FILE)))) return err("BACKUP_NOT_A_SERVER", { dir });
  if (!(await isEmpty(out))) return err("BACKUP_NOT_EMPTY", { dir: out });
  await mkdir(out, { recursive: true, mode: 0o700 });
  options.snapshot(join(dir, STORE_FILE), join(out, STORE_FILE));
  const files = [await indexed(out, STORE_FILE)];
  for (const path of await filesBelow(dir)) {
    if (LEFT_OUT.test(path)) continue;
    const copied = await copySettled(dir, out, path);
    if (copied !== undefined) files.push(copied);
  }
  for (const { path } of files) await sync(join(out, path));
  const index: BackupIndex = { v: 1, atMs: options.nowMs, files };
  await writeDurably(join(out, INDEX_FILE), JSON.stringify(index, undefined, 1));
  return ok(index);
}

type Indexed = BackupIndex["files"][number];

/** Copies a file that may be replaced meanwhile; undefined where it has gone. */
async function copySettled(dir: string, out: string, path: string): Promise<Indexed | undefined> {
  await mkdir(dirname(join(out, path)), { recursive: true, mode: 0o700 });
  for (let tries = 0; tries < TRIES; tries++) {
    const before = await digestOf(join(dir, path));
    if (before === undefined) return undefined;
    await copyFile(join(dir, path), join(out, path)).catch(ifGone);
    const copied = await digestOf(join(out, path));
    if (copied === before) return indexed(out, path);
  }
  throw new Error(`${path} does not stop changing`);
}

async function indexed(root: string, path: string): Promise<Indexed> {
  const { size } = await stat(join(root, path));
  return { path, bytes: size, sha256: (await digestOf(join(root, path))) ?? "" };
}

/** SHA-256 of a file in hex; undefined where there is none. */
export async function digestOf(file: string): Promise<string | undefined> {
  const hash = createHash("sha256");
  try {
    for await (const chunk of createReadStream(file)) hash.update(chunk as Buffer);
  } catch (cause) {
    return ifGone(cause as NodeJS.ErrnoException);
  }
  return hash.digest("hex");
}

function ifGone(cause: NodeJS.ErrnoException): undefined {
  if (cause.code === "ENOENT") return undefined;
  throw cause;
}

async function filesBelow(dir: string): Promise<string[]> {
  const found = await readdir(dir, { recursive: true, withFileTypes: true });
  return found
    .filter((entry) => entry.isFile())
    .map((entry) => relative(dir, join(entry.parentPath, entry.name)))
    .sort();
}

function isFile(path: string): Promise<boolean> {
  return stat(path).then(
    (found) => found.isFile(),
    () => false,
  );
}

/** Whether nothing is there. */
export async function isEmpty(dir: string): Promise<boolean> {
  const found = await readdir(dir).catch(ifGone);
  return found === undefined || found.length === 0;
}

/** Makes what was written to a file survive a power cut. */
export async function sync(path: string): Promise<void> {
  const file = await open(path, "r");
  try {
    await file.sync();
  } finally {
    await file.close();
  }
}

/** The text of a file; undefined where there is none. */
export function readText(path: string): Promise<string | undefined> {
  return readFile(path, "utf8").catch(ifGone);
}
