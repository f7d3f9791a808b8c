import type { Manifest, TensorType } from "@bellwether/protocol/package/manifest.ts";

/** What a tensor's elements are stored in. Booleans are bytes of 0 and 1. */
export type TensorElements = Float32Array | Float64Array | BigInt64Array | Int32Array | Uint8Array | string[];

/** One input tensor of a run. */
export interface InputTensor {
  readonly name: string;
  readonly type: TensorType;
  readonly dims: readonly number[];
  readonly data: TensorElements;
}

/** One fetched output of a run, as ONNX Runtime gives it. */
export interface OutputTensor {
  readonly dims: readonly number[];
  readonly data: ArrayLike<number | bigint | boolean | string>;
}

/** A loaded model, ready to run. */
export interface ModelSession {
  readonly slotDir: string;
  readonly manifest: Manifest;
  /** SHA-256 of the manifest's bytes: what inference records name. */
  readonly digest: string;
  /** The parsed reference.json. */
  readonly reference: unknown;
  readonly loadMs: number;
  /** One native run, which blocks the thread; throws what ONNX Runtime throws. */
  run(inputs: readonly InputTensor[]): Promise<Readonly<Record<string, OutputTensor>>>;
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
