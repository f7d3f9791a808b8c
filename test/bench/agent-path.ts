/**
 * The agent's whole path of a row against the bare `session.run` of the same model, side by side in one process, in
 * processor time (other programs on the machine do not count): `node test/bench/agent-path.ts`.
 * Row -> window -> features -> session -> outbox (SQLite, synchronous=FULL) -> encoded batch -> acknowledged.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { InferenceRecord, TelemetryRow } from "@bellwether/protocol/messages/stream.ts";
import { writeModel } from "@bellwether/protocol/onnx/write.ts";
import { buildTensors, readOutputs } from "@bellwether/protocol/package/tensors.ts";
import { unwrap } from "@bellwether/protocol/result.ts";
import { openOutbox } from "../../agent/src/buffer/outbox.io.ts";
import { Engine } from "../../agent/src/inference/engine.ts";
import { openSession } from "../../agent/src/inference/session.io.ts";
import type { ModelSession } from "../../agent/src/inference/session.ts";
import { writeSlot } from "../kit/slots.ts";

const CHANNELS = Array.from({ length: 24 }, (_, i) => `c${i}`);
const ASSETS = Array.from({ length: 32 }, (_, i) => `pump-${i}`);
const ROWS_PER_COMMIT = 256;
const folder = mkdtempSync(join(tmpdir(), "bellwether-bench-"));

const cpuMs = () => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1_000;
};

/** The network of FINDINGS' raw limits: 24-64-32-1 with ReLU. */
function network(): Uint8Array {
  const sizes = [24, 64, 32, 1];
  const layers = sizes.slice(1).map((out, i) => ({ from: sizes[i]!, out, i }));
  return writeModel({
    name: "mlp",
    producer: "bench",
    opsets: { "": 17 },
    inputs: [{ name: "in", type: "float32", shape: ["batch", 24] }],
    outputs: [{ name: "out", type: "float32", shape: ["batch", 1] }],
    constants: layers.map(({ from, out, i }) => ({
      name: `w${i}`,
      dims: [from, out],
      values: Float32Array.from({ length: from * out }, (_, k) => Math.sin(k + i) / from),
    })),
    nodes: layers.flatMap(({ i }) => {
      const last = i === layers.length - 1;
      const product = { operator: "MatMul", domain: "", inputs: [i === 0 ? "in" : `h${i}`, `w${i}`], attributes: {} };
      if (last) return [{ ...product, outputs: ["out"] }];
      const relu = { operator: "Relu", domain: "", inputs: [`p${i}`], outputs: [`h${i + 1}`], attributes: {} };
      return [{ ...product, outputs: [`p${i}`] }, relu];
    }),
  });
}

async function open(name: string, rich: boolean): Promise<ModelSession> {
  const features = CHANNELS.map((channel) => ({ name: `${channel}.f`, function: rich ? "mean" : "last", channel }));
  const length = rich ? 30 : 1;
  const source = { kind: "features" as const, features: features.map((feature) => feature.name) };
  const { slotDir } = writeSlot(
    join(folder, name),
    network(),
    {
      channels: CHANNELS.map((channel) => ({ channel, unit: "mm/s" })),
      features,
      window: { kind: "count", length, hop: 1, minRows: 1 },
      tensors: [{ input: "in", type: "float32", shape: ["batch", 24], source }],
    },
    { v: 1, features: {} },
  );
  return unwrap(await openSession(slotDir));
}

function rowOf(asset: string, i: number): TelemetryRow {
  const values = Object.fromEntries(CHANNELS.map((c, k) => [c, Math.round(1_000 * Math.sin(i * 0.01 + k)) / 1_000]));
  return { asset, observedAtMs: i * 1_000, values };
}

async function bare(session: ModelSession, runs: number): Promise<number> {
  const data = Float32Array.from({ length: 24 }, (_, i) => i);
  const startMs = cpuMs();
  for (let i = 0; i < runs; i++) await session.run([{ name: "in", type: "float32", dims: [1, 24], data }]);
  return (runs / (cpuMs() - startMs)) * 1_000;
}

async function path(session: ModelSession, perPass: number, passes: number, durable: boolean): Promise<number> {
  const outbox = unwrap(
    openOutbox(join(folder, `${perPass}-${durable}-${Math.random()}.sqlite`), {
      maxBytes: 1 << 30,
      commitMs: 1e9,
      keepAckedMs: 0,
      resolutionOf: () => 0.001,
      clock: () => ({ bootId: "bench", monoMs: performance.now(), wallMs: Date.now(), clockSynced: true }),
    }),
  );
  const channels = CHANNELS.map((channel) => ({ channel, unit: "mm/s", resolution: 0.001 }));
  const engine = new Engine({
    channels: new Map(ASSETS.map((asset) => [asset, channels])),
    bindings: [],
    tensors: { build: buildTensors, read: readOutputs },
    nowUs: () => performance.now() * 1_000,
    nowMs: Date.now,
  });
  unwrap(engine.serve([{ session }]));
  const work = Array.from({ length: passes }, (_, p) =>
    Array.from({ length: perPass }, (_, k) => rowOf(ASSETS[k % ASSETS.length]!, p)),
  );
  let waiting = 0;
  const startMs = cpuMs();
  for (const rows of work) {
    const { inference, events } = await engine.process(rows);
    if (!durable) continue;
    outbox.append({ rows });
    outbox.append({ inference: inference as InferenceRecord[], events });
    waiting += rows.length;
    if (waiting < ROWS_PER_COMMIT) continue;
    waiting = 0;
    unwrap(outbox.commit());
    for (let chunks = outbox.nextChunks(1e6); chunks.length > 0; chunks = outbox.nextChunks(1e6)) {
      for (const { stream, toSeq } of chunks) {
        outbox.acked({ v: 1, streams: { [stream]: { epoch: outbox.epoch, upTo: toSeq, also: [] } } });
      }
    }
  }
  const perSecond = ((perPass * passes) / (cpuMs() - startMs)) * 1_000;
  unwrap(outbox.close());
  return perSecond;
}

try {
  for (const rich of [false, true]) {
    const session = await open(rich ? "mean-of-30" : "last", rich);
    await bare(session, 5_000);
    await path(session, 32, 200, true);
    const base = await bare(session, 20_000);
    process.stdout.write(
      `24 features (${rich ? "mean of 30 rows" : "newest value"}), bare ${Math.round(base)} runs/s\n`,
    );
    for (const [perPass, passes] of [
      [1, 8_000],
      [32, 500],
    ] as const) {
      for (const durable of [false, true]) {
        const rate = await path(session, perPass, passes, durable);
        const what = `${perPass} assets a pass, ${durable ? "with" : "without"} outbox`;
        process.stdout.write(`  ${what}: ${Math.round(rate)} rows/s, ${(rate / base).toFixed(2)} of bare\n`);
      }
    }
    await session.close();
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}
