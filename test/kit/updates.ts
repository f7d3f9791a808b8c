import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { compatible } from "@bellwether/protocol/package/compatibility.ts";
import { ok, unwrap } from "@bellwether/protocol/result.ts";
import { parseConfig } from "../../agent/src/config/parse.ts";
import { type Pipeline, startPipeline } from "../../agent/src/inference/pipeline.io.ts";
import { createLogger } from "../../agent/src/log.ts";
import type { AgentRole } from "../../agent/src/roles.io.ts";
import { ServingSet } from "../../agent/src/serving.io.ts";
import { digestOfSlot } from "../../agent/src/trust/verified-model.ts";
import { createUpdater, machineOf, type Updater, type UpdaterPorts } from "../../agent/src/update/runner.io.ts";
import { programSpawner } from "./programs.ts";
import { ROOT } from "./tuf.ts";

type Reported = Parameters<UpdaterPorts["report"]>[0];

/** A device's updater wired to its pipeline as the agent wires them: everything but the link. */
export interface TestDevice {
  readonly stateDir: string;
  readonly updater: Updater;
  readonly pipeline: Pipeline;
  /** What was reported last. */
  readonly reported: () => Reported;
  /** Codes of what whoever looks after security was told. */
  readonly forged: readonly string[];
  /** Once; every further call waits for the first. */
  close(): Promise<void>;
}

export interface TestDeviceOptions {
  readonly stateDir: string;
  readonly serverUrl: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly now?: () => number;
  /** The root it is enrolled with; that of the tests' own keys without it. */
  readonly rootMetadata?: string;
  /** Called with what is to serve, before it does. */
  readonly onServe?: (serving: Parameters<UpdaterPorts["serve"]>[1]) => void;
  readonly onReport?: (reported: Reported) => void;
  /** 100 without it. */
  readonly rowsPerSecond?: number;
}

/** Starts it on rows of `x` = 1, 2, 3, … of one pump; the verified models of its state serve when it returns. */
export async function startUpdates(options: TestDeviceOptions): Promise<TestDevice> {
  const { stateDir, serverUrl, labels = {}, now = Date.now, onServe, onReport, rowsPerSecond = 100 } = options;
  const { rootMetadata = ROOT.toString("utf8") } = options;
  mkdirSync(stateDir, { recursive: true });
  const rows = join(stateDir, "rows.csv");
  if (!existsSync(rows)) writeFileSync(rows, ["x", ...Array.from({ length: 50_000 }, (_, i) => i + 1), ""].join("\n"));
  const config = unwrap(
    parseConfig(
      `
assets: [{id: pump-1}]
inputs: [{id: rec, type: replay, file: ${rows}, asset: pump-1, rowsPerSecond: ${rowsPerSecond}, points: [{name: x, channel: x, unit: mm/s}]}]
`,
      "agent.yaml",
    ),
  );
  const spawner = programSpawner<AgentRole>("bellwether-agent");
  const log = createLogger({ level: "error", nowMs: Date.now, write: () => undefined });
  const assets = new Map([["pump-1", new Map([["x", "mm/s"]])]]);
  const forged: string[] = [];
  let reported: Reported = { directorVersion: 0, models: [], refusals: [] };
  const updater = createUpdater(
    {
      stateDir,
      serverUrl,
      device: "edge-1",
      rootMetadata,
      token: async () => ok("token"),
      transport: () => ({}),
      labels: () => labels,
      compatible: (manifest) =>
        compatible(manifest, { arch: process.arch, memoryMb: 4_096, agentVersion: "1.0.0", assets }),
      serve(model, wanted) {
        onServe?.(wanted);
        return serving.serve(model, wanted);
      },
      figures: async () => (await pipeline.figures()).models,
      onForged: ({ code }) => void forged.push(code),
      report(now) {
        reported = now;
        onReport?.(now);
      },
      now,
      // A clock of a test's own is one that nobody set.
      clockSynced: () => now === Date.now,
      log: () => undefined,
    },
    machineOf(stateDir, spawner),
  );
  const ignore = () => undefined;
  const started = await startPipeline(
    (data) => spawner.worker("pipeline", data),
    {
      stateDir,
      config,
      active: updater.servingAtStart(),
      bootId: "boot-of-a-test",
      origin: { site: "plant", device: "edge-1", labels: {} },
    },
    { onEpoch: ignore, onProblem: ignore, onEnded: ignore, onFatal: ignore },
  );
  if ("code" in started) throw new Error(`${started.code}: ${started.message}`);
  const pipeline: Pipeline = started;
  const serving = new ServingSet({ pipeline, spawner, log });
  updater.start();
  for (const { model, slotDir, problem } of pipeline.outcomes) {
    if (problem) updater.onBroken(model, digestOfSlot(slotDir), problem);
  }
  const end = async () => {
    await updater.stop();
    // Its inputs stop, and with them the thread and its memory.
    await pipeline.quiet();
    await pipeline.close();
  };
  let closed: Promise<void> | undefined;
  return {
    stateDir,
    updater,
    pipeline,
    reported: () => reported,
    forged,
    close() {
      closed ??= end();
      return closed;
    },
  };
}

/** A copy of a device's state, as another device with the same past would have it. */
export function copyOf(stateDir: string, to: string): string {
  for (const name of ["update.json", "slots", "tuf", "rows.csv"]) {
    if (existsSync(join(stateDir, name))) cpSync(join(stateDir, name), join(to, name), { recursive: true });
  }
  return to;
}

/** Every file of the slots that bears its final name, with its bytes. */
export function slotFiles(stateDir: string): Record<string, string> {
  const root = join(stateDir, "slots");
  if (!existsSync(root)) return {};
  const files = readdirSync(root, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  const paths = files.map((entry) => join(entry.parentPath, entry.name)).filter((path) => !path.includes(".partial"));
  return Object.fromEntries(paths.sort().map((path) => [path.slice(root.length), readFileSync(path, "base64")]));
}
