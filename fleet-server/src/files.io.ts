import { randomBytes } from "node:crypto";
import { mkdir, open, rename, stat, unlink } from "node:fs/promises";
import { dirname } from "node:path";

/**
 * Makes a folder and what is missing above it, for its owner only. Level by level: where a file system takes no folders
 * (/proc), Node's recursive mkdir tries for ever.
 */
export async function makeFolder(dir: string): Promise<void> {
  const parent = dirname(dir);
  try {
    await mkdir(dir, { mode: 0o700 });
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code === "EEXIST" && (await stat(dir)).isDirectory()) return;
    if (code !== "ENOENT" || parent === dir || (await isThere(parent))) throw cause;
    await makeFolder(parent);
    await makeFolder(dir);
  }
}

function isThere(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}

/**
 * Writes a file so that after a power cut it is the old one or the new one, whole: temporary file, fsync, rename, fsync
 * of the folder. Any failure leaves the old one.
 */
export async function writeDurably(path: string, bytes: Uint8Array | string, mode = 0o600): Promise<void> {
  await makeFolder(dirname(path));
  const temporary = `${path}.${randomBytes(6).toString("hex")}.tmp`;
  const file = await open(temporary, "wx", mode);
  try {
    await file.writeFile(bytes);
    await file.sync();
  } catch (cause) {
    await file.close();
    await unlink(temporary);
    throw cause;
  }
  await file.close();
  await rename(temporary, path);
  const folder = await open(dirname(path), "r");
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}
