import { randomBytes } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { keyPairOf } from "@bellwether/protocol/trust/keys.ts";
import { askLocal } from "../../agent/src/health/local.io.ts";
import type { Enrolment } from "../../agent/src/link/enrolment.ts";
import type { AgentSnapshot } from "../../agent/src/snapshot.ts";
import { eventually } from "./eventually.ts";
import { type Command, runProcess, startProcess, type TestProcess, type TestProcessOptions } from "./processes.ts";

/** A state directory as `enroll` leaves it, for tests that need no server; port 9 of loopback answers nobody. */
export function enrolledFolder(stateDir: string, changes: Partial<Enrolment> = {}): string {
  const seed = randomBytes(32);
  const enrolment: Enrolment = {
    v: 1,
    site: "plant",
    device: "edge-1",
    phase: "active",
    brokerId: "broker-of-nobody",
    mqttUrl: "mqtt://127.0.0.1:9",
    rootMetadata: "{}",
    serverUrl: "http://127.0.0.1:9",
    publicHex: Buffer.from(keyPairOf(seed).publicKey).toString("hex"),
    enrolledAtMs: 0,
    ...changes,
  };
  mkdirSync(stateDir, { recursive: true, mode: 0o700 });
  writeFileSync(join(stateDir, "enrolment.json"), JSON.stringify(enrolment), { mode: 0o600 });
  writeFileSync(join(stateDir, "device.key"), seed.toString("hex"), { mode: 0o600 });
  return stateDir;
}

/** Starts `bellwether-agent run` on a configuration written into the folder. */
export function startAgentProcess(
  folder: string,
  stateDir: string,
  yaml: string,
  { command = "bellwether-agent", ...options }: TestProcessOptions & { readonly command?: Command } = {},
): TestProcess {
  const config = join(folder, "agent.yaml");
  writeFileSync(config, yaml);
  return startProcess(command, ["run", "--config", config, "--state", stateDir], options);
}

/** Configuration of an agent that replays `x` = 1, 2, 3, … of one pump, from a file below the folder. */
export function replayOf(folder: string): string {
  const file = join(folder, "rows.csv");
  writeFileSync(file, ["x", ...Array.from({ length: 20_000 }, (_, i) => String(i + 1)), ""].join("\n"));
  return `
heartbeatMs: 500
assets: [{id: pump-1}]
inputs: [{id: rec, type: replay, file: ${file}, asset: pump-1, rowsPerSecond: 100, points: [{name: x, channel: x, unit: mm/s}]}]
`;
}

/** What `bellwether-agent status -o json` prints, or undefined while no agent answers. */
export async function agentSnapshot(stateDir: string): Promise<AgentSnapshot | undefined> {
  const { ended, stdout } = await runProcess("bellwether-agent", ["status", "--state", stateDir, "-o", "json"]);
  return ended === 0 ? (JSON.parse(stdout) as AgentSnapshot) : undefined;
}

/** Waits until the running agent's snapshot satisfies `judge`, asking it where `status` does: a process for every look costs a core. */
export function snapshotWhere(
  what: string,
  stateDir: string,
  judge: (snapshot: AgentSnapshot) => boolean,
  limitMs = 60_000,
): Promise<AgentSnapshot> {
  return eventually(
    what,
    async () => {
      const answer = await askLocal(stateDir);
      if (!answer.ok) return undefined;
      const snapshot = answer.value as AgentSnapshot;
      return judge(snapshot) ? snapshot : undefined;
    },
    limitMs,
    100,
  );
}
