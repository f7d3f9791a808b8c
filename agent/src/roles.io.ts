import { type MessagePort, parentPort } from "node:worker_threads";
import { currentRole, type RoleSpawner, roleData } from "@bellwether/protocol/process/roles.io.ts";
import type { PipelineStart } from "./inference/pipeline.ts";
import type { PipelineParts } from "./inference/pipeline.worker.ts";

/** Threads and children of the agent. */
export type AgentRole = "pipeline" | "candidate" | "metadata" | "selftest" | "parentGuard";

/** Runs what this thread or process was started for: a role, or the command line. `spawner` starts the same entry again. */
export async function runProgram(spawner: RoleSpawner<AgentRole>): Promise<void> {
  const role = currentRole();
  if (role === undefined) {
    const { runCli } = await import("./cli.ts");
    return runCli(process.argv.slice(2), spawner);
  }
  if (!Object.hasOwn(ROLES, role)) throw new Error(`unknown role ${role}`);
  await ROLES[role as AgentRole](spawner);
}

/** Rooms are loaded only where they are needed. */
const ROLES: Readonly<Record<AgentRole, (spawner: RoleSpawner<AgentRole>) => Promise<void>>> = {
  async pipeline() {
    const start = roleData<PipelineStart>();
    const { runPipeline } = await import("./inference/pipeline.worker.ts");
    await runPipeline(parentOf(), start, await pipelineParts(start));
  },
  async candidate() {
    const [{ runCandidate }, { verifySlot }] = await Promise.all([
      import("./inference/candidate.worker.ts"),
      import("./trust/slot-files.io.ts"),
    ]);
    await runCandidate(parentOf(), () => verifySlot(roleData<{ slotDir: string }>().slotDir));
  },
  async metadata() {
    const { runMetadataWorker } = await import("./update/metadata.worker.ts");
    await runMetadataWorker();
  },
  async selftest(spawner) {
    const [{ runSelfTest }, { verifySlot, readGolden }] = await Promise.all([
      import("./inference/selftest.worker.ts"),
      import("./trust/slot-files.io.ts"),
    ]);
    // argv: node, entry, role flag, slot, the agent's process.
    spawner.worker("parentGuard", Number(process.argv[4])).unref();
    await runSelfTest(await verifySlot(process.argv[3] ?? ""), readGolden);
  },
  async parentGuard() {
    const { endWithParent } = await import("@bellwether/protocol/process/parent-guard.io.ts");
    endWithParent(roleData<number>());
  },
};

/** What other rooms lend the pipeline thread. */
export async function pipelineParts({ bootId }: PipelineStart): Promise<PipelineParts> {
  const [
    { lockStateDirectory },
    { openOutbox },
    { createInput },
    { createMqttOutput },
    site,
    clock,
    probes,
    tensors,
    trust,
  ] = await Promise.all([
    import("./buffer/lock.io.ts"),
    import("./buffer/outbox.io.ts"),
    import("./inputs/inputs.io.ts"),
    import("./outputs/mqtt.io.ts"),
    import("./link/site-broker.io.ts"),
    import("./health/clock.io.ts"),
    import("./health/probes.io.ts"),
    import("@bellwether/protocol/package/tensors.ts"),
    import("./trust/slot-files.io.ts"),
  ]);
  const device = probes.createProbes();
  return {
    lock: lockStateDirectory,
    openOutbox,
    createInput,
    inputContext: { connectMqtt: site.connectSiteBroker, probes: device },
    writtenBytes: () => device.writtenBytes(),
    createOutput: createMqttOutput,
    connectPublisher: site.connectSitePublisher,
    tensors: { build: tensors.buildTensors, read: tensors.readOutputs },
    clock: clock.createClock(bootId),
    verify: trust.verifySlot,
  };
}

/** The port of the thread that started this one. */
export function parentOf(): MessagePort {
  if (parentPort === null) throw new Error("this role runs in a thread");
  return parentPort;
}
