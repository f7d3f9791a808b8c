import { createHash, randomUUID } from "node:crypto";
import { mkdirSync } from "node:fs";
import { type FileHandle, open, readdir, readFile, rename, rm, stat, utimes } from "node:fs/promises";
import { join } from "node:path";
import { err, ok, type Result } from "@bellwether/protocol/result.ts";

/** A file named by its content. */
export interface StoredFile {
  readonly digest: string;
  readonly length: number;
}

/** Files named by their SHA-256, written whole or not at all: uploads as they came, snapshots as they are learnt from. */
export interface HistoryFiles {
  /** Keeps the bytes as they arrive; the same content again is the same file. */
  write(kind: FileKind, bytes: AsyncIterable<Uint8Array> | Iterable<Uint8Array>): Promise<Result<StoredFile>>;
  /** Where the file is, if it is there. */
  find(kind: FileKind, digest: string): Promise<string | undefined>;
  /** The bytes of a snapshot, whose digest is checked. */
  readSnapshot(digest: string): Promise<Result<Uint8Array>>;
  /** Removes what no history uses and is older than a day: forgotten uploads, and what a crash left half-written. */
  sweep(used: ReadonlySet<string>, nowMs: number): Promise<number>;
}

export type FileKind = "uploads" | "snapshots";
const FORGOTTEN_AFTER_MS = 86_400_000;

/** The history files below `dir`; `bytesMax` bounds all of them together. */
export function historyFiles(dir: string, bytesMax: number): HistoryFiles {
  for (const kind of ["uploads", "snapshots"]) mkdirSync(join(dir, kind), { recursive: true, mode: 0o700 });
  const pathOf = (kind: FileKind, digest: string) => join(dir, kind, digest.replace(/^sha256:/, ""));
  return {
    async write(kind, bytes) {
      const used = await bytesIn(dir);
      const temporary = join(dir, kind, `.new-${randomUUID()}`);
      const hash = createHash("sha256");
      let length = 0;
      let file: FileHandle | undefined;
      try {
        file = await open(temporary, "wx", 0o600);
        for await (const chunk of bytes) {
          length += chunk.byteLength;
          if (used + length > bytesMax) {
            return err("HISTORY_SPACE_EXHAUSTED", { actual: used + length, limit: bytesMax });
          }
          hash.update(chunk);
          await file.write(chunk);
        }
        await file.sync();
        await file.close();
        file = undefined;
        const digest = `sha256:${hash.digest("hex")}`;
        await rename(temporary, pathOf(kind, digest));
        await syncFolder(join(dir, kind));
        return ok({ digest, length });
      } finally {
        await file?.close();
        await rm(temporary, { force: true });
      }
    },
    async find(kind, digest) {
      const path = pathOf(kind, digest);
      const found = await stat(path).catch(() => undefined);
      if (found === undefined) return undefined;
      // Asked for is not forgotten.
      await utimes(path, new Date(), found.mtime);
      return path;
    },
    async readSnapshot(digest) {
      const path = pathOf("snapshots", digest);
      const bytes = await readFile(path).catch(() => undefined);
      if (bytes === undefined) return err("NOT_FOUND", { what: "history", name: digest });
      const actual = `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
      if (actual === digest) return ok(bytes);
      return err("INVALID_SHAPE", {
        what: "The stored history",
        path: "/",
        expected: `the digest ${digest}, not ${actual}`,
      });
    },
    async sweep(used, nowMs) {
      let removed = 0;
      for (const kind of ["uploads", "snapshots"] as const) {
        for (const name of await readdir(join(dir, kind))) {
          if (used.has(`sha256:${name}`)) continue;
          const path = join(dir, kind, name);
          const { mtimeMs, atimeMs } = await stat(path);
          if (nowMs - Math.max(mtimeMs, atimeMs) < FORGOTTEN_AFTER_MS) continue;
          await rm(path, { force: true });
          removed += 1;
        }
      }
      return removed;
    },
  };
}

async function bytesIn(dir: string): Promise<number> {
  let sum = 0;
  for (const kind of ["uploads", "snapshots"]) {
    for (const name of await readdir(join(dir, kind))) {
      sum += (await stat(join(dir, kind, name)).catch(() => ({ size: 0 }))).size;
    }
  }
  return sum;
}

async function syncFolder(path: string): Promise<void> {
  const folder = await open(path);
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}
