import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startBellwether } from "../../kit/bellwether.ts";
import { installSlot, writeUpdateState } from "../../kit/state.ts";
import type { Bench, OpenBench } from "../bench.ts";
import { measureFile, startFile } from "../child.io.ts";
import { CHANNELS, manifestOf, network, RESOLUTION, reference, UNIT } from "./model.ts";

/** What the agent prints of a round. */
interface Line {
  readonly figure: number;
  readonly durable: number;
  readonly pipelineUs: number;
  readonly otherThreadsUs: number;
  /** Rows since it started, those of the warm-up included. */
  readonly allRows: number;
}

const AGENT = "agent/agent.ts";
const BASELINE = "agent/session.ts";

/** The agent's whole path with so many assets, at full speed, against a real server. */
export function agentPath(assets: number, least: number): Bench {
  const batch = assets === 1 ? "inference batch 1" : `${assets} assets in micro-batches of ${assets}`;
  return {
    what: `rows a second through the agent's whole path (24 channels, window 1, 24 features, drift on, ${batch}, outbox at synchronous=FULL, MQTT QoS 1, until the last row is acknowledged)`,
    over: "bare `session.run` of the same model at batch 1, one thread",
    unit: "rows/s",
    goal: { of: "ratio", least },
    baselineFile: BASELINE,
    open: () => open(assets),
  };
}

async function open(assets: number): Promise<OpenBench> {
  const folder = mkdtempSync(join(tmpdir(), "bellwether-bench-"));
  const server = await startBellwether({ dir: join(folder, "server"), until: "caller" });
  const state = join(folder, "state");
  const token = join(folder, "token");
  const { body } = await server.call("POST /v1/enrolment-tokens", { site: "bench" });
  writeFileSync(token, body.secret, { mode: 0o600 });
  const enrolment = ["enroll", "--url", server.url, "--token-file", token, "--device", "bench-1", "--state", state];
  await startFile(AGENT, enrolment).ended;
  const slot = installSlot(state, network(), manifestOf(assets), reference());
  writeUpdateState(state, { model: "bench", active: { version: slot.version, digest: slot.digest } });
  const config = join(folder, "agent.yaml");
  writeFileSync(config, configOf(Array.from({ length: assets }, (_, i) => `pump-${i + 1}`)));
  return {
    async value() {
      const agent = startFile(AGENT, ["run", "--config", config, "--state", state]);
      const serverBefore = cpuSeconds(server.pid);
      try {
        const line = await agent.next<Line>("figure");
        const serverUs = ((cpuSeconds(server.pid) - serverBefore) * 1e6) / line.allRows;
        const us = (value: number) => `${value.toFixed(1)} us`;
        process.stderr.write(
          `  durable on the device ${Math.round(line.durable)} rows/s; CPU a row: pipeline thread ${us(line.pipelineUs)}, other threads of the agent ${us(line.otherThreadsUs)}, server ${us(serverUs)}\n`,
        );
        return line.figure;
      } finally {
        await agent.stop();
      }
    },
    async baseline() {
      const { figure, cpuUs } = await measureFile<{ figure: number; cpuUs: number }>(BASELINE, "figure");
      process.stderr.write(`  CPU a run of the bare session: ${cpuUs.toFixed(1)} us\n`);
      return figure;
    },
    async close() {
      await server.stop();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** Processor time of a process so far, as the kernel counts it (proc(5): utime and stime, in ticks of 10 ms). */
function cpuSeconds(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, "latin1").split(") ")[1]!.split(" ");
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

/** Default configuration; the source of the rows is exchanged for one in memory by `agent.ts`. */
function configOf(assets: readonly string[]): string {
  const points = assets.flatMap((asset) =>
    CHANNELS.map((channel) => ({
      name: `${asset}.${channel}`,
      asset,
      channel,
      source: "current",
      unit: UNIT,
      resolution: RESOLUTION,
    })),
  );
  // JSON is YAML.
  return JSON.stringify({
    assets: assets.map((id) => ({ id })),
    inputs: [{ id: "memory", type: "simulator", rowsPerSecond: 0, assets, points }],
  });
}
