import { join } from "node:path";
import type { RoleSpawner } from "@bellwether/protocol/process/roles.io.ts";
import { err, type Result } from "@bellwether/protocol/result.ts";
import type { HistoryRecord, TrainingStore } from "../store/training.ts";
import { type HistoryFiles, historyFiles, type StoredFile } from "./history/files.io.ts";
import type { HistoryPaths } from "./history/import.io.ts";
import type { ImportOrder, ImportReply } from "./history/import.worker.ts";
import type { HistoryRequest } from "./history/request.ts";

export interface HistoriesPorts {
  readonly store: TrainingStore;
  readonly spawner: RoleSpawner<"history-import">;
  /** The server's folder; histories lie in `history` below it. */
  readonly dir: string;
  /** All uploads and snapshots together. */
  readonly bytesMax: number;
  now(): number;
}

/** Imported histories. */
export interface Histories {
  /** Folder of the files, for the threads that read them. */
  readonly dir: string;
  /** Keeps an uploaded file until a history uses it, at least for a day. */
  upload(bytes: AsyncIterable<Uint8Array>): Promise<Result<StoredFile>>;
  /** Reads uploaded files into a history; refused with file and line, and then nothing is kept. */
  import(request: HistoryRequest, createdBy: string): Promise<Result<HistoryRecord>>;
}

/** Imports at once: each holds its history in memory. */
const IMPORTS_MAX = 2;

export function createHistories(ports: HistoriesPorts): Histories {
  const dir = join(ports.dir, "history");
  const files: HistoryFiles = historyFiles(dir, ports.bytesMax);
  let importing = 0;

  async function run(paths: HistoryPaths, request: HistoryRequest): Promise<ImportReply> {
    const order: ImportOrder = { paths, request, dir, bytesMax: ports.bytesMax };
    const worker = ports.spawner.worker("history-import", order);
    try {
      return await new Promise((resolve, reject) => {
        worker.once("message", resolve);
        worker.once("error", reject);
        worker.once("exit", () => reject(new Error("the import thread ended without a result")));
      });
    } finally {
      await worker.terminate();
    }
  }

  return {
    dir,
    async upload(bytes) {
      const used = new Set(await ports.store.filesInUse({}));
      await files.sweep(used, ports.now());
      return await files.write("uploads", bytes);
    },
    async import(request, createdBy) {
      const samples = await files.find("uploads", request.samples.digest);
      if (samples === undefined) return err("HISTORY_FILE_UNKNOWN", { digest: request.samples.digest });
      const failures =
        request.failures === undefined ? undefined : await files.find("uploads", request.failures.digest);
      if (request.failures !== undefined && failures === undefined) {
        return err("HISTORY_FILE_UNKNOWN", { digest: request.failures.digest });
      }
      if (importing >= IMPORTS_MAX) {
        return err("CONFLICT", { what: "The import", name: "", reason: `${importing} imports are under way` });
      }
      importing += 1;
      try {
        const reply = await run({ samples, ...(failures === undefined ? {} : { failures }) }, request);
        if (reply.kind === "refused") return { ok: false, error: reply.problem };
        const { digest, length } = reply.snapshot;
        return await ports.store.addHistory({
          id: `h-${digest.slice(7, 19)}`,
          label: request.label ?? null,
          snapshot: digest,
          bytes: length,
          request,
          report: reply.report,
          createdAtMs: ports.now(),
          createdBy,
        });
      } finally {
        importing -= 1;
      }
    },
  };
}
