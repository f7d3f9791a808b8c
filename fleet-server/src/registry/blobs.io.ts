import { createHash, randomBytes } from "node:crypto";
import { createReadStream, createWriteStream } from "node:fs";
import { mkdir, open, readdir, rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import type { Readable } from "node:stream";
import { finished } from "node:stream/promises";
import { BLOB_BYTES_MAX } from "@bellwether/protocol/package/manifest.ts";
import { err, ok, type Result } from "@bellwether/protocol/result.ts";

const DIGEST = /^sha256:([0-9a-f]{64})$/;

/** Files named by the SHA-256 of their bytes. What has a name here was whole and verified when it got it. */
export interface BlobStore {
  /** Takes bytes as they arrive; they get their name only when they are on disk and have this digest. */
  put(digest: string, bytes: AsyncIterable<Uint8Array>): Promise<Result<{ readonly length: number }>>;
  /** Length in bytes, or undefined when there is no such blob. */
  length(digest: string): Promise<number | undefined>;
  /** Reads from `from` up to and including `to`. */
  open(digest: string, from: number, to: number): Readable;
  /** Where the blob's file is. */
  path(digest: string): string;
  /** Removes blobs that are not kept and older than this; answers how many. */
  removeExcept(keep: ReadonlySet<string>, untilMs: number): Promise<number>;
}

/** Opens the store below `dir`; what an earlier life left half-written is removed. */
export async function openBlobs(dir: string): Promise<BlobStore> {
  const root = join(dir, "sha256");
  const arriving = join(dir, "arriving");
  await rm(arriving, { recursive: true, force: true });
  await mkdir(arriving, { recursive: true, mode: 0o700 });
  const path = (digest: string): string => {
    const hex = DIGEST.exec(digest)?.[1];
    // Routes check digests; a name that is none must never become a path.
    if (hex === undefined) throw new Error(`${digest} is no digest`);
    return join(root, hex.slice(0, 2), hex);
  };
  const length = (digest: string) =>
    stat(path(digest)).then(
      ({ size }) => size,
      (cause: NodeJS.ErrnoException) => {
        if (cause.code === "ENOENT") return undefined;
        throw cause;
      },
    );
  return {
    path,
    length,
    open: (digest, from, to) => createReadStream(path(digest), { start: from, end: to }),
    async put(digest, bytes) {
      const temporary = join(arriving, randomBytes(12).toString("hex"));
      try {
        const taken = await receive(temporary, bytes);
        if (!taken.ok) return taken;
        if (taken.value.digest !== digest) {
          return err("BLOB_DIGEST_MISMATCH", { actual: taken.value.digest, expected: digest });
        }
        await settle(temporary, path(digest), join(root, digest.slice(7, 9)), root);
        return ok({ length: taken.value.length });
      } catch (cause) {
        const { code } = cause as NodeJS.ErrnoException;
        // Anything else (the client went away, the body grew over its bound) is the caller's to tell.
        if (code !== "ENOSPC" && code !== "EDQUOT" && code !== "EIO" && code !== "EROFS") throw cause;
        return err("BLOB_NOT_STORED", { reason: code });
      } finally {
        await rm(temporary, { force: true });
      }
    },
    async removeExcept(keep, untilMs) {
      let removed = 0;
      const folders = await readdir(root).catch(() => [] as string[]);
      for (const folder of folders) {
        for (const hex of await readdir(join(root, folder))) {
          const file = join(root, folder, hex);
          if (keep.has(`sha256:${hex}`) || (await stat(file)).mtimeMs > untilMs) continue;
          await rm(file);
          removed += 1;
        }
      }
      return removed;
    },
  };
}

/** Writes bytes to a file, bounded and hashed on the way, and onto the disk. */
async function receive(
  file: string,
  bytes: AsyncIterable<Uint8Array>,
): Promise<Result<{ digest: string; length: number }>> {
  const hash = createHash("sha256");
  let length = 0;
  const out = createWriteStream(file, { flags: "wx", mode: 0o600, flush: true });
  const closed = finished(out);
  // The loop below may throw first; this failure is then the same one again.
  closed.catch(() => undefined);
  try {
    for await (const chunk of bytes) {
      length += chunk.byteLength;
      if (length > BLOB_BYTES_MAX) {
        return err("TOO_LARGE", { what: "The file", actual: length, unit: "bytes", limit: BLOB_BYTES_MAX });
      }
      hash.update(chunk);
      if (!out.write(chunk)) await Promise.race([once(out, "drain"), closed]);
    }
    out.end();
    await closed;
  } finally {
    out.destroy();
  }
  return ok({ digest: `sha256:${hash.digest("hex")}`, length });
}

function once(stream: NodeJS.EventEmitter, event: string): Promise<void> {
  return new Promise((resolve) => stream.once(event, () => resolve()));
}

/** Gives a written file its name for good: rename, then fsync of the folders that changed. */
async function settle(from: string, to: string, folder: string, root: string): Promise<void> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  await rename(from, to);
  for (const changed of [folder, root]) {
    const handle = await open(changed, "r");
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
  }
}
