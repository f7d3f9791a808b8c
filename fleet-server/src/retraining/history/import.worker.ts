import { parentPort } from "node:worker_threads";
import { type Problem, problem } from "@bellwether/protocol/errors.ts";
import { roleData } from "@bellwether/protocol/process/roles.io.ts";
import { historyFiles, type StoredFile } from "./files.io.ts";
import { type HistoryPaths, readHistory } from "./import.io.ts";
import type { HistoryReport } from "./report.ts";
import type { HistoryRequest } from "./request.ts";
import { encodeSnapshot } from "./snapshot.ts";

/** What an import thread is started with. */
export interface ImportOrder {
  readonly paths: HistoryPaths;
  readonly request: HistoryRequest;
  readonly dir: string;
  readonly bytesMax: number;
}

/** Its one message, after which it ends. */
export type ImportReply =
  | { readonly kind: "imported"; readonly snapshot: StoredFile; readonly report: HistoryReport }
  | { readonly kind: "refused"; readonly problem: Problem };

/** Runs one import: parsing takes seconds and must not hold up the network thread. */
export async function runImportThread(): Promise<void> {
  const { paths, request, dir, bytesMax } = roleData<ImportOrder>();
  const port = parentPort!;
  try {
    const read = await readHistory(paths, request);
    if (!read.ok) return port.postMessage({ kind: "refused", problem: read.error } satisfies ImportReply);
    const written = await historyFiles(dir, bytesMax).write("snapshots", encodeSnapshot(read.value.snapshot));
    const reply: ImportReply = written.ok
      ? { kind: "imported", snapshot: written.value, report: read.value.report }
      : { kind: "refused", problem: written.error };
    port.postMessage(reply);
  } catch (cause) {
    const reason = (cause as Error).message;
    port.postMessage({ kind: "refused", problem: problem("INTERNAL", { reference: reason }) } satisfies ImportReply);
  }
}
