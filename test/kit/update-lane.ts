import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { unwrap } from "@bellwether/protocol/result.ts";
import { deviceTopic } from "@bellwether/protocol/topics.ts";
import { keyPairOf } from "@bellwether/protocol/trust/keys.ts";
import { onTestFinished } from "vitest";
import { askLocal } from "../../agent/src/health/local.io.ts";
import type { AgentSnapshot } from "../../agent/src/snapshot.ts";
import type { ModelState } from "../../agent/src/update/machine.ts";
import { enrolledFolder, replayOf } from "./agent.ts";
import { eventually } from "./eventually.ts";
import { temporaryFolder } from "./folder.ts";
import { enrolDevice, SITE, startLinkServer } from "./link.ts";
import { startProcess, type TestProcess } from "./processes.ts";
import { programFile } from "./programs.ts";
import { temporaryStore } from "./store.ts";
import { ROOT, TestRepository } from "./tuf.ts";

const LIFE_MS_MAX = 60_000;
/** A device whose agent runs as the real process, with a server that tells it what it should run. */
export interface UpdateLane {
  readonly stateDir: string;
  readonly repository: TestRepository;
  /** What the device hears whenever it connects. */
  wish: Buffer | undefined;
  /** Starts `bellwether-agent run`, with something before the command. */
  start(before?: readonly string[], env?: Readonly<Record<string, string>>): TestProcess;
  snapshot(): Promise<AgentSnapshot | undefined>;
  /** Waits for a snapshot of the running agent; fails when the agent has ended. */
  until(what: string, agent: TestProcess, judge: (snapshot: AgentSnapshot) => unknown): Promise<AgentSnapshot>;
  /** The model's state as it lies on the disk. */
  kept(): ModelState | undefined;
  /** The state directory to what it was when `remember` was called. */
  remember(): void;
  restore(): void;
}

/** A lane below `folder`; the state directory is made anew there. */
export async function startLane(device: string, folder = temporaryFolder()): Promise<UpdateLane> {
  const stateDir = join(folder, "state");
  const base = join(temporaryFolder(), "base");
  const repository = await TestRepository.start();
  const store = await temporaryStore();
  const server = await startLinkServer(store, {
    onListening: (name, site, broker) => {
      if (lane.wish) broker.toDevice(name, deviceTopic(site, name).down("desired"), lane.wish);
    },
  });
  onTestFinished(async () => {
    repository.close();
    await server.close();
  });
  const json = (body: () => unknown) => (_: unknown, response: { end(text: string): void }) =>
    response.end(JSON.stringify(body()));
  const { brokerId, nonce } = server.login;
  repository.answers.set(
    "device/nonce",
    json(() => ({ nonce: unwrap(nonce(device)), brokerId })),
  );
  repository.answers.set(
    "device/login",
    json(() => ({ token: "token-of-a-device", expiresAtMs: Date.now() + 600_000 })),
  );
  const { seed } = await enrolDevice(store, device);
  enrolledFolder(stateDir, {
    publicHex: Buffer.from(keyPairOf(seed).publicKey).toString("hex"),
    site: SITE,
    device,
    brokerId,
    mqttUrl: `mqtt://127.0.0.1:${server.port}`,
    serverUrl: repository.url,
    rootMetadata: ROOT.toString("utf8"),
  });
  writeFileSync(join(stateDir, "device.key"), Buffer.from(seed).toString("hex"), { mode: 0o600 });
  const config = join(folder, "agent.yaml");
  writeFileSync(config, replayOf(folder));
  const lane: UpdateLane = {
    stateDir,
    repository,
    wish: undefined,
    start(before = [], env = {}) {
      const [command, ...args] = [
        ...before,
        process.execPath,
        programFile("bellwether-agent"),
        "run",
        "--config",
        config,
        "--state",
        stateDir,
      ];
      const { PATH, HOME, LANG, NODE_COMPILE_CACHE } = process.env;
      const kept = Object.entries({ PATH, HOME, LANG, NODE_COMPILE_CACHE, ...env }).filter(([, value]) => value);
      return startProcess(command as `/${string}`, args, { env: Object.fromEntries(kept) as Record<string, string> });
    },
    async snapshot() {
      const answer = await askLocal(stateDir);
      return answer.ok ? (answer.value as AgentSnapshot) : undefined;
    },
    async until(what, agent, judge) {
      let ended: number | string | undefined;
      void agent.ended.then((how) => {
        ended = how;
      });
      const look = async () => {
        const snapshot = await lane.snapshot();
        if (snapshot?.pid === agent.pid && judge(snapshot)) return { snapshot };
        return ended === undefined ? undefined : {};
      };
      const found: { snapshot?: AgentSnapshot } = await eventually(what, look, LIFE_MS_MAX).catch(() => ({}));
      if (found.snapshot) return found.snapshot;
      const last = JSON.stringify((await lane.snapshot())?.models);
      const how = ended === undefined ? `not within ${LIFE_MS_MAX} ms` : `the agent ended (${ended}) before`;
      // Who lives on holds the device's lock: no later life could begin.
      agent.signal("SIGKILL");
      await agent.ended;
      throw new Error([`${how}: ${what}; ${last}`, ...agent.stderr.slice(-8)].join("\n"));
    },
    kept: () => JSON.parse(readFileSync(join(stateDir, "update.json"), "utf8")).models[0],
    remember() {
      rmSync(base, { recursive: true, force: true });
      copyState(stateDir, base);
    },
    restore() {
      for (const name of readdirSync(stateDir)) rmSync(join(stateDir, name), { recursive: true, force: true });
      copyState(base, stateDir);
    },
  };
  return lane;
}

/** What a device keeps over years; outbox, lock and socket are of one life's work. */
const KEPT = ["enrolment.json", "device.key", "sessions", "update.json", "slots", "tuf"];

function copyState(from: string, to: string): void {
  mkdirSync(to, { recursive: true, mode: 0o700 });
  for (const name of KEPT)
    if (existsSync(join(from, name))) cpSync(join(from, name), join(to, name), { recursive: true });
}
