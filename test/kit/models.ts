import type { Manifest } from "@bellwether/protocol/package/manifest.ts";

const blob = { digest: `sha256:${"0".repeat(64)}`, length: 1 };

/**
 * A manifest for tests: one channel "x" in mm/s, a window of the last row, one feature "x.last", one output "value".
 * `changes` replace whole members.
 */
export function testManifest(changes: Partial<Manifest> = {}): Manifest {
  return {
    v: 1,
    model: "pump-rul",
    version: 1,
    files: { model: blob, golden: blob, reference: blob },
    channels: [{ channel: "x", unit: "mm/s" }],
    window: { kind: "count", length: 1, hop: 1, minRows: 1 },
    features: [{ name: "x.last", function: "last", channel: "x" }],
    tensors: [
      { input: "in", type: "float32", shape: ["batch", 1], source: { kind: "features", features: ["x.last"] } },
    ],
    outputs: [{ name: "value", output: "out", meaning: "value", primary: true }],
    compatibility: { opset: 17, executionProviders: ["cpu"], architectures: ["x64", "arm64"] },
    limits: { p99LatencyMs: 50, memoryMb: 256 },
    tolerance: { absolute: 1e-6, relative: 1e-6 },
    maxBatch: 32,
    lineage: { trainer: "test" },
    ...changes,
  };
}
