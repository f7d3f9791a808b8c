import type { Manifest } from "@bellwether/protocol/package/manifest.ts";
import type { InputTensor, OutputTensor } from "@bellwether/protocol/package/tensors.ts";
import type { DriftReference } from "@bellwether/protocol/reference/drift-reference.ts";
import type { Usual } from "./explanation.ts";

export type { InputTensor, OutputTensor };

/** What an agent uses of reference.json. */
export interface ModelReference {
  /** What is usual of each feature. */
  readonly features: Readonly<Record<string, Usual>>;
  readonly drift?: DriftReference;
}

/** A loaded model, ready to run. */
export interface ModelSession {
  readonly slotDir: string;
  readonly manifest: Manifest;
  /** SHA-256 of the manifest's bytes: what inference records name. */
  readonly digest: string;
  readonly reference: ModelReference;
  readonly loadMs: number;
  /** One native run, which blocks the thread; throws what ONNX Runtime throws. */
  run(inputs: readonly InputTensor[]): Promise<Readonly<Record<string, OutputTensor>>>;
  /**
   * What the newest run took, in microseconds: the native call alone. What its thread did before it, such as waiting for
   * the disk, says nothing of the model. To be read when `run` answers, before anything else is awaited.
   */
  readonly lastRunUs: number;
  close(): Promise<void>;
}

/** Around every native call, so that the main thread can tell a hang from work. */
export interface NativeGuard {
  enter(model: number, limitMs: number): void;
  leave(): void;
}

/**
 * How long one native run may take before it is a hang: far beyond the p99 the manifest promises, because a slow answer
 * is an error to count and only a lost thread is worth a restart.
 */
export function runLimitMs(manifest: Pick<Manifest, "limits">): number {
  return Math.max(RUN_LIMIT_MS_MIN, 50 * manifest.limits.p99LatencyMs);
}
const RUN_LIMIT_MS_MIN = 5_000;

/** Loading may take long on a small board (an isolation forest of 2,710 nodes took 3 s on a desktop core). */
export const LOAD_LIMIT_MS = 60_000;
