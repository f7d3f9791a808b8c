import { parentPort } from "node:worker_threads";
import { type Problem, problem } from "@bellwether/protocol/errors.ts";
import { roleData } from "@bellwether/protocol/process/roles.io.ts";
import { historyFiles } from "./history/files.io.ts";
import { decodeSnapshot } from "./history/snapshot.ts";
import type { TrainingOrder, TrainingProgress } from "./order.ts";
import { type TrainedModel, trainModel } from "./train.ts";

/** What a training thread is started with. */
export interface TrainThreadOptions {
  readonly order: TrainingOrder;
  /** Folder of the history files. */
  readonly dir: string;
}

/** What it says: progress now and then, then one result. */
export type TrainReply =
  | { readonly kind: "progress"; readonly progress: TrainingProgress }
  | { readonly kind: "trained"; readonly model: TrainedModel }
  | { readonly kind: "refused"; readonly problem: Problem };

/** A step begins at once; within a step this often is enough for people. */
const PROGRESS_EVERY_MS = 200;

/** Runs one training run; computing takes seconds to minutes and must not hold up the network thread. */
export async function runTrainThread(): Promise<void> {
  const { order, dir } = roleData<TrainThreadOptions>();
  const port = parentPort!;
  const refuse = (wrong: Problem) => port.postMessage({ kind: "refused", problem: wrong } satisfies TrainReply);
  try {
    const bytes = await historyFiles(dir, 0).readSnapshot(order.snapshot);
    if (!bytes.ok) return refuse(bytes.error);
    const snapshot = decodeSnapshot(bytes.value);
    if (!snapshot.ok) return refuse(snapshot.error);
    let step = "";
    let postedAtMs = 0;
    const trained = trainModel(order, snapshot.value, (progress) => {
      const nowMs = performance.now();
      if (progress.step === step && nowMs - postedAtMs < PROGRESS_EVERY_MS) return;
      step = progress.step;
      postedAtMs = nowMs;
      port.postMessage({ kind: "progress", progress } satisfies TrainReply);
    });
    if (!trained.ok) return refuse(trained.error);
    port.postMessage({ kind: "trained", model: trained.value } satisfies TrainReply);
  } catch (cause) {
    refuse(problem("TRAINING_FAILED", { run: order.run, reason: (cause as Error).message }));
  }
}
