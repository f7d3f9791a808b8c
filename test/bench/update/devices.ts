import { encodeBatch } from "@bellwether/protocol/batch.ts";
import type { UpdatePhase } from "@bellwether/protocol/messages/device.ts";
import type { StreamBatch } from "@bellwether/protocol/messages/stream.ts";
import { roleSpawner } from "@bellwether/protocol/process/roles.io.ts";
import { ok } from "@bellwether/protocol/result.ts";
import { DIRECT } from "@bellwether/protocol/tls/transport.ts";
import { deviceTopic } from "@bellwether/protocol/topics.ts";
import { connectAsync } from "mqtt";
import type { AgentRole } from "../../../agent/src/roles.io.ts";
import { createUpdater, machineOf, type UpdaterPorts } from "../../../agent/src/update/runner.io.ts";
import type { Bellwether } from "../../kit/bellwether.ts";
import { CountedServing } from "../../kit/counted-serving.ts";
import { credentials, deviceLogin, enrol } from "../../kit/device.ts";
import { patiently } from "../patiently.ts";

/** Devices that take a document, download and test at one time: they share a machine here, where each has its own. */
const AT_ONCE = 4;
/** A prediction is sent so often: a device that serves and says nothing stops its wave. */
const PREDICTION_EVERY_MS = 1_000;

/** A device with everything of an agent's update but its pipeline and its machine. */
export interface SimulatedDevice {
  /** When it came into each phase, by the clock of this process; idle: when it was its turn. */
  readonly since: ReadonlyMap<UpdatePhase, number>;
  /** When it had confirmed the version. */
  doneAtMs(): number | undefined;
  close(): Promise<void>;
}

/**
 * Enrols and connects a device that runs the agent's own updater: metadata, documents, downloads, slots and self-tests are
 * the real ones, in folders of its own. What serves counts inferences, and computes none.
 */
export async function startSimulated(
  server: Bellwether,
  name: string,
  stateDir: string,
  rootMetadata: string,
): Promise<SimulatedDevice> {
  const enrolled = await patiently(() => enrol(server, name, { site: "bench" }));
  const topics = deviceTopic(enrolled.site, name);
  const login = await credentials(server, enrolled);
  const mqtt = await connectAsync(server.mqttUrl, { ...login, clientId: name, reconnectPeriod: 0 });
  const say = (kind: "state" | "reported", body: object) =>
    mqtt.publishAsync(topics.up(kind), JSON.stringify({ v: 1, session: 1, ...body }), { qos: 1 });
  const since = new Map<UpdatePhase, number>();
  const serving = new CountedServing();
  let doneAtMs: number | undefined;
  let rev = 0;
  let token: Awaited<ReturnType<UpdaterPorts["token"]>> | undefined;
  let atTurn = false;
  const begin = async () => {
    if (atTurn) return;
    atTurn = true;
    await turns.take();
    since.set("idle", Date.now());
  };
  const end = () => {
    if (atTurn) turns.give();
    atTurn = false;
  };
  const updater = createUpdater(
    {
      stateDir,
      serverUrl: server.url,
      device: name,
      rootMetadata,
      async token() {
        await begin();
        token ??= ok((await patiently(() => deviceLogin(server, enrolled))).body.token as string);
        return token;
      },
      transport: () => DIRECT,
      labels: () => ({}),
      compatible: () => ok(undefined),
      serve: (model, wanted) => serving.serve(model, wanted),
      onForged: () => undefined,
      figures: () => serving.figures(),
      report(reported) {
        for (const { phase, outcome } of reported.models) {
          if (!since.has(phase)) since.set(phase, Date.now());
          if (phase === "idle" && outcome === "succeeded") doneAtMs ??= Date.now();
          if (phase === "confirming" || phase === "failed") end();
        }
        rev += 1;
        void say("reported", { rev, ...reported });
      },
      now: Date.now,
      clockSynced: () => true,
      log: () => undefined,
    },
    machineOf(stateDir, spawner),
  );
  mqtt.on("message", (topic, payload) => {
    if (topic.endsWith("/down/desired")) updater.onDesired(payload);
  });
  let sent = 0;
  const predict = () => {
    const nowMs = Date.now();
    const record = serving.prediction("pump-1", nowMs);
    if (record === undefined) return;
    const batch: StreamBatch<"inference"> = {
      v: 1,
      epoch: "0000000000000001",
      stream: "inference",
      fromSeq: ++sent,
      records: [record],
      hist: false,
      clock: { bootId: "bench", monoMs: performance.now(), wallMs: nowMs, clockSynced: true },
    };
    void mqtt.publishAsync(topics.up("inference"), Buffer.from(encodeBatch(batch)), { qos: 1 });
  };
  const predicting = setInterval(predict, PREDICTION_EVERY_MS);
  for (const filter of topics.downFilters) await mqtt.subscribeAsync(filter);
  await say("state", { online: true, atMs: Date.now(), heartbeatMs: 60_000 });
  updater.start();
  return {
    since,
    doneAtMs: () => doneAtMs,
    async close() {
      clearInterval(predicting);
      await updater.stop();
      await mqtt.endAsync(true);
    },
  };
}

/** The model of the benchmark's package. */
export const MODEL = "pump-rul";

const spawner = roleSpawner<AgentRole>(new URL("../../../agent/src/main.ts", import.meta.url));

/** Turns at this machine, in the order in which they were asked for. */
class Turns {
  #left: number;
  readonly #waiting: (() => void)[] = [];
  constructor(atOnce: number) {
    this.#left = atOnce;
  }
  async take(): Promise<void> {
    if (this.#left > 0) this.#left -= 1;
    else await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }
  give(): void {
    const next = this.#waiting.shift();
    if (next) next();
    else this.#left += 1;
  }
}
const turns = new Turns(AT_ONCE);
