import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startBellwether } from "../../kit/bellwether.ts";
import { eventually } from "../../kit/eventually.ts";
import { testPackage } from "../../kit/packages.ts";
import { releaseVersion, uploadTo } from "../../kit/release.ts";
import type { Bench } from "../bench.ts";
import { MODEL, type SimulatedDevice, startSimulated } from "./devices.ts";

const DEVICES = 100;
const WAIT_MS_MAX = 600_000;
/** Nobody waits for live data here: what is measured is the way to the devices, and back. */
const PLAN = {
  target: { selector: "" },
  waves: [
    { name: "canary", targetPercentage: 10, soakMinutes: 0, gates: [] },
    { name: "rest", targetPercentage: 100, soakMinutes: 0, gates: [] },
  ],
  confirm: { inferences: 20, soakSeconds: 1, deadlineSeconds: 120, errorFraction: 0.1 },
};

/** From a signed release to a fleet that runs it. */
export const updateE2e: Bench = {
  what: `seconds from the order of a rollout to the server's word that ${DEVICES} simulated devices on this machine confirmed the version, in a canary of 10 and the rest; each refreshes metadata, downloads, self-tests in a child process and soaks for 1 s`,
  over: "nothing: a plain figure",
  unit: "s",
  goal: { of: "value", most: 300 },
  rounds: 1,
  open,
};

async function open() {
  const folder = mkdtempSync(join(tmpdir(), "bellwether-bench-"));
  const dir = join(folder, "server");
  mkdirSync(dir);
  const server = await startBellwether({ dir, until: "caller", config: "rollouts: {tickMs: 200}\n" });
  const devices: SimulatedDevice[] = [];
  const root = await server.call("GET /v1/repository/metadata/1.root.json");
  for (let i = 1; i <= DEVICES; i++) {
    devices.push(await startSimulated(server, `gw-${i}`, join(folder, `gw-${i}`), JSON.stringify(root.body)));
  }
  return {
    async value() {
      const { version } = await uploadTo(server, testPackage());
      await releaseVersion(server, MODEL, version);
      const orderedAtMs = Date.now();
      const rollout = await server.call("POST /v1/rollouts", { model: MODEL, version: String(version), ...PLAN });
      const started = await server.call(`POST /v1/rollouts/${rollout.body.id}/start`);
      if (started.http >= 300) throw new Error(JSON.stringify([rollout.body, started.body]));
      const { phase, reason } = await eventually(
        "the rollout ends",
        async () => {
          const { body } = await server.call(`GET /v1/rollouts/${rollout.body.id}`);
          return ["finished", "stopped", "reverted", "paused"].includes(body.phase) && body;
        },
        WAIT_MS_MAX,
        100,
      );
      if (phase !== "finished") throw new Error(`the rollout is ${phase}: ${reason}`);
      const seconds = (Date.now() - orderedAtMs) / 1_000;
      for (const line of phasesOf(devices)) process.stderr.write(`  ${line}\n`);
      return seconds;
    },
    async close() {
      for (const device of devices) await device.close();
      await server.stop();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

const STEPS = [
  ["metadata and document", "idle", "downloading"],
  ["download", "downloading", "verifying"],
  ["verify", "verifying", "selfTesting"],
  ["self-test", "selfTesting", "activating"],
  ["activate", "activating", "confirming"],
] as const;

/** How long the devices took for each step. */
function phasesOf(devices: readonly SimulatedDevice[]): string[] {
  const timed = STEPS.map(([what, from, to]) => {
    return [what, devices.map(({ since }) => (since.get(to) ?? Number.NaN) - (since.get(from) ?? Number.NaN))] as const;
  });
  const confirming = devices.map(
    ({ since, doneAtMs }) => (doneAtMs() ?? Number.NaN) - (since.get("confirming") ?? Number.NaN),
  );
  return [...timed, ["inferences and soak", confirming] as const].map(([what, ms]) => {
    const sorted = ms.toSorted((a, b) => a - b);
    const at = (share: number) => sorted[Math.floor(share * (sorted.length - 1))];
    return `${what}: median ${at(0.5)} ms, 95 of 100 within ${at(0.95)} ms`;
  });
}
