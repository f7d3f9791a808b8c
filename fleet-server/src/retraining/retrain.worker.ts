import { parentPort } from "node:worker_threads";
import { type Problem, problem } from "@bellwether/protocol/errors.ts";
import { roleData } from "@bellwether/protocol/process/roles.io.ts";
import { historyFiles } from "./history/files.io.ts";
import { decodeSnapshot } from "./history/snapshot.ts";
import { type Retrained, type RetrainOrder, retrain } from "./retrain.ts";

/** What a retraining thread is started with. */
export interface RetrainThreadOptions {
  readonly order: RetrainOrder;
  /** Folder of the history files. */
  readonly dir: string;
}

/** What it says: progress now and then, then one result. */
export type RetrainReply =
  | { readonly kind: "progress"; readonly done: number; readonly step: string }
  | { readonly kind: "retrained"; readonly retrained: Retrained }
  | { readonly kind: "refused"; readonly problem: Problem };

/** Runs one retraining; it computes for seconds to minutes. */
export async function runRetrainThread(): Promise<void> {
  const { order, dir } = roleData<RetrainThreadOptions>();
  const post = (reply: RetrainReply) => parentPort!.postMessage(reply);
  try {
    const files = historyFiles(dir, 0);
    const snapshots = [];
    for (const digest of [order.base, order.fleet]) {
      const bytes = await files.readSnapshot(digest);
      if (!bytes.ok) return post({ kind: "refused", problem: bytes.error });
      const snapshot = decodeSnapshot(bytes.value);
      if (!snapshot.ok) return post({ kind: "refused", problem: snapshot.error });
      snapshots.push(snapshot.value);
    }
    const [base, fleet] = snapshots as [(typeof snapshots)[0], (typeof snapshots)[0]];
    const retrained = retrain(order, base!, fleet!, (done, step) => post({ kind: "progress", done, step }));
    post(
      retrained.ok ? { kind: "retrained", retrained: retrained.value } : { kind: "refused", problem: retrained.error },
    );
  } catch (cause) {
    const reason = (cause as Error).message;
    post({ kind: "refused", problem: problem("TRAINING_FAILED", { run: order.id, reason }) });
  }
}
