import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { digestOf } from "@bellwether/protocol/package/check.ts";
import { unwrap } from "@bellwether/protocol/result.ts";
import { askLocal } from "../../../agent/src/health/local.io.ts";
import type { AgentSnapshot } from "../../../agent/src/snapshot.ts";
import { type Answer, type Bellwether, startBellwether } from "../../kit/bellwether.ts";
import { eventually } from "../../kit/eventually.ts";
import { packageAgent } from "../../kit/packaged.ts";
import { referencesOf, testPackage } from "../../kit/packages.ts";
import { releaseVersion } from "../../kit/release.ts";
import type { Bench, OpenBench } from "../bench.ts";
import { type Child, figureOf, startCommand } from "../child.io.ts";

const BASELINE = "footprint/libraries.ts";
const WAIT_MS_MAX = 60_000;
/** Long enough for V8 to have compiled what is hot and collected what is not. */
const SETTLED_INFERENCES = 300;

/** Without `start` a row carries the time it was made at. */
const CONFIG = {
  assets: [{ id: "pump-1" }],
  inputs: [
    {
      id: "machine",
      type: "simulator",
      rowsPerSecond: 50,
      machines: { sensorFaults: 0 },
      points: [{ name: "x", asset: "pump-1", channel: "x", unit: "mm/s", source: "vibration.de" }],
    },
  ],
};

/** What a round gives: resident memory in MB, or ms from the start of the process to its first inference. */
type Part = "mb" | "ms";

/** The packaged agent with one model and a live session. */
export function footprint(part: Part, most: number): Bench {
  const memory = "resident MB of the packaged agent with one model and a live session, 50 rows a second";
  return {
    what: part === "mb" ? memory : "ms from the start of the packaged agent to its first inference",
    over: "Node with better-sqlite3, mqtt and one ONNX Runtime session, in one thread, doing nothing",
    unit: part === "mb" ? "MB" : "ms",
    goal: { of: "value", most },
    baselineFile: BASELINE,
    baselineArgs: [part],
    open: () => open(part),
  };
}

async function open(part: Part): Promise<OpenBench> {
  const folder = mkdtempSync(join(tmpdir(), "bellwether-bench-"));
  const { command, files } = packageAgent(folder);
  const variables = variablesOfUnit(files);
  const dir = join(folder, "server");
  mkdirSync(dir);
  const server = await startBellwether({
    dir,
    until: "caller",
    config: "rollouts: {tickMs: 200}\n",
  });
  const state = join(folder, "state");
  const token = join(folder, "token");
  const { secret } = await answered(server.call("POST /v1/enrolment-tokens", { site: "bench" }));
  writeFileSync(token, secret, { mode: 0o600 });
  await startCommand(command, [
    "enroll",
    "--url",
    server.url,
    "--token-file",
    token,
    "--device",
    "bench-1",
    "--state",
    state,
  ]).ended;
  const config = join(folder, "agent.yaml");
  // JSON is YAML.
  writeFileSync(config, JSON.stringify(CONFIG));
  const start = () => startCommand(command, ["run", "--config", config, "--state", state], variables);
  const first = start();
  try {
    await rollOut(server);
    process.stderr.write(`  peak while the model was brought in: ${resident(first, "VmHWM").toFixed(0)} MB\n`);
  } finally {
    await first.stop();
  }
  return {
    async value() {
      const startedAtMs = Date.now();
      const agent = start();
      try {
        if (part === "ms") return (await firstPredicted(server, startedAtMs)) - startedAtMs;
        await settled(state);
        return resident(agent, "VmRSS");
      } finally {
        await agent.stop();
      }
    },
    baseline: () => figureOf(BASELINE, [part]),
    async close() {
      await server.stop();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** The environment in which systemd starts the agent. */
function variablesOfUnit(files: string): Record<string, string> {
  const unit = readFileSync(join(files, "usr/lib/systemd/system/bellwether-agent.service"), "utf8");
  return Object.fromEntries([...unit.matchAll(/^Environment=(\w+)=(\S+)$/gm)].map(([, name, value]) => [name, value]));
}

/** Waits for a live session and enough inferences of this life. */
function settled(state: string): Promise<boolean> {
  const judge = async () => {
    const { link, pipeline } = unwrap(await askLocal(state)) as AgentSnapshot;
    return link.phase === "online" && (pipeline?.models[0]?.inferences ?? 0) >= SETTLED_INFERENCES;
  };
  return eventually("a live session and inferences", judge, WAIT_MS_MAX);
}

/** When the first row since then was read that has a prediction. */
function firstPredicted(server: Bellwether, sinceMs: number): Promise<number> {
  const look = async () => {
    for (let cursor = ""; ; ) {
      const { items, next } = await answered(server.call(`GET /v1/predictions?limit=1000${cursor}`));
      const found = items.find(({ observedAtMs }: { observedAtMs: number }) => observedAtMs >= sinceMs);
      if (found !== undefined || !next) return found?.observedAtMs;
      cursor = `&cursor=${next}`;
    }
  };
  return eventually("a prediction of this life", look, WAIT_MS_MAX);
}

/** Brings the model to the device as an owner would, and waits until it was proven. */
async function rollOut(server: Bellwether): Promise<void> {
  const { manifest, files } = testPackage();
  const headers = { "content-type": "application/octet-stream" };
  for (const bytes of Object.values(files)) {
    await answered(server.call(`PUT /v1/blobs/${digestOf(bytes)}`, bytes, { headers }));
  }
  const { model } = manifest;
  const version = { manifest: { ...manifest, files: referencesOf(files) } };
  await answered(server.call(`POST /v1/models/${model}/versions`, version));
  await releaseVersion(server, model, 1);
  const rollout = {
    model,
    version: "1",
    target: { selector: "" },
    waves: [{ name: "all", targetPercentage: 100, soakMinutes: 0, errorAction: "PAUSE" }],
    confirm: { inferences: 20, soakSeconds: 0, deadlineSeconds: 60, errorFraction: 0 },
  };
  const { id } = await answered(server.call("POST /v1/rollouts", rollout));
  await answered(server.call(`POST /v1/rollouts/${id}/start`));
  await eventually(
    "the model was proven",
    async () => (await answered(server.call("GET /v1/devices/bench-1"))).models[0]?.outcome === "succeeded",
    WAIT_MS_MAX,
  );
}

async function answered(asked: Promise<Answer>): Promise<Answer["body"]> {
  const { http, body } = await asked;
  if (http >= 300) throw new Error(`${http}: ${JSON.stringify(body)}`);
  return body;
}

/** A figure of /proc/PID/status in MB. */
function resident({ pid }: Child, figure: "VmRSS" | "VmHWM"): number {
  const status = readFileSync(`/proc/${pid}/status`, "latin1");
  return Number(new RegExp(`${figure}:\\s+(\\d+) kB`).exec(status)?.[1]) / 1_024;
}
