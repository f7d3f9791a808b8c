import { randomBytes } from "node:crypto";
import { open, readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { deviceTopic } from "@bellwether/protocol/topics.ts";
import { sealDirector } from "@bellwether/protocol/trust/director.ts";
import { keyPairOf } from "@bellwether/protocol/trust/keys.ts";
import { until } from "./api.io.ts";
import { spoil } from "./bad-model.ts";
import { type Count, errorsOf } from "./checker.ts";
import { countRows, goOn, rowsAtRest } from "./count.io.ts";
import type { DemoAgent, Fleet } from "./fleet.io.ts";
import { executionsOf, importPast, type RolloutView, rollOut, train } from "./models.io.ts";
import type { BadModel } from "./options.ts";
import { cappedRul, type Plant, type TrueRow } from "./plant.ts";

export type Say = (line: string) => void;

/** Predictions of each asset that the first model is judged by, at least. */
const JUDGED_OF_EACH = 12;
/** No device's process has changed yet. */
const UNCHANGED = new Map<string, never>();

/** Chapter 2: the first model, from the past to every device. */
export async function firstModel(fleet: Fleet, plant: Plant, past: readonly TrueRow[], say: Say): Promise<RolloutView> {
  await importPast(fleet, plant, "past", past, "run to failure");
  const trained = await train(fleet, plant, "past", 1, "rul");
  say(
    `version ${trained.version} learnt from ${past.length} rows of ${plant.historyAssets.length} assets; held-out RMSE ${trained.heldOutRmse?.toFixed(1)}`,
  );
  const rollout = await rollOut(fleet, plant, trained.version, say);
  for (const execution of await executionsOf(fleet, rollout.id)) {
    const why = execution.errorCode === null ? "" : ` (${execution.errorCode})`;
    say(`  ${execution.device}: ${execution.phase}${why}, runs version ${execution.activeVersion ?? "none"}`);
  }
  if (rollout.phase !== "finished") throw new Error(`the first model did not reach every device: ${rollout.reason}`);
  return rollout;
}

export interface Prediction {
  readonly asset: string;
  readonly observedAtMs: number;
  readonly version: number;
  readonly value?: number;
}

/** Chapter 3: predictions against truth, beside the best constant, on assets training never saw. */
export async function judgePredictions(
  fleet: Fleet,
  plant: Plant,
  past: readonly TrueRow[],
  version: number,
  say: Say,
) {
  const watched = plant.agents.flatMap((agent) => agent.assets);
  const predictions = await until(
    `${JUDGED_OF_EACH} predictions of version ${version} for each of ${watched.length} assets`,
    async () => {
      const all = await fleet.api.all<Prediction>(`/v1/predictions?model=${plant.model}`);
      const own = all.filter((one) => one.version === version && one.value !== undefined);
      const of = Map.groupBy(own, (one) => one.asset);
      return watched.every((asset) => (of.get(asset) ?? []).length >= JUDGED_OF_EACH) ? own : undefined;
    },
    90_000,
  );
  const truth = new Map<string, number>();
  const newest = Math.max(...predictions.map((one) => one.observedAtMs));
  for (const agent of plant.agents) {
    const rows = await agent.expected(Math.min(plant.rowsMax, 2_000));
    for (const row of rows.filter((one) => one.observedAtMs <= newest)) {
      truth.set(`${row.asset}@${row.observedAtMs}`, cappedRul(row, plant.cap));
    }
  }
  const pairs = predictions.flatMap((one) => {
    const known = truth.get(`${one.asset}@${one.observedAtMs}`);
    return known === undefined ? [] : [{ value: one.value as number, truth: known }];
  });
  const mean = past.reduce((sum, row) => sum + cappedRul(row, plant.cap), 0) / past.length;
  const errors = errorsOf(pairs, mean);
  say(`${pairs.length} predictions: RMSE ${errors.rmse.toFixed(1)}, the mean predictor ${errors.rmseMean.toFixed(1)}`);
  say(`on assets that training never saw: ${watched.join(", ")}`);
  return errors;
}

/** Chapter 4: a worthless model, valid in every way a machine can check beforehand. */
export async function badModel(
  fleet: Fleet,
  plant: Plant,
  past: readonly TrueRow[],
  kind: BadModel,
  seed: number,
  say: Say,
) {
  const targets = spoil(
    past.map((row) => cappedRul(row, plant.cap)),
    kind,
    seed,
  );
  await importPast(fleet, plant, `past-${kind}`, past, targets);
  const trained = await train(fleet, plant, `past-${kind}`, 1, "column");
  say(`version ${trained.version} learnt from ${kind} targets: valid, signed, golden vectors right`);
  const rollout = await rollOut(fleet, plant, trained.version, say);
  say(`  ${rollout.reason ?? ""}`);
  for (const execution of await executionsOf(fleet, rollout.id)) {
    say(`  ${execution.device}: ${execution.phase}, runs version ${execution.activeVersion ?? "none"}`);
  }
  // Everything after this is told of a fleet that runs the good one.
  if (rollout.phase !== "reverted")
    throw new Error(`the worthless model was not stopped and taken back: its rollout ended ${rollout.phase}`);
  return rollout;
}

/** Chapter 5: a flipped byte on the server's disk, and a document signed by somebody else. Both are for the agent to see. */
export async function tamper(fleet: Fleet, plant: Plant, say: Say): Promise<string[]> {
  const codes: string[] = [];
  const trained = await train(fleet, plant, "past", 2, "rul");
  await fleet.cli("models", "release", plant.model, String(trained.version));
  const { manifest } = await fleet.api.get<{ manifest: { files: { model: { digest: string } } } }>(
    `/v1/models/${plant.model}/versions/${trained.version}`,
  );
  await flipByte(join(fleet.folder, "server"), manifest.files.model.digest);
  const rollout = await rollOut(fleet, plant, trained.version, () => undefined);
  const refused = (await executionsOf(fleet, rollout.id)).find(
    (execution) => execution.errorCode === "DIGEST_MISMATCH",
  );
  say(
    `a byte of the published model flipped: ${refused ? `${refused.device} answers ${refused.errorCode}` : "NOT refused"}`,
  );
  if (refused?.errorCode) codes.push(refused.errorCode);

  const victim = fleet.agents[0] as DemoAgent;
  const { device } = victim.share;
  const stranger = keyPairOf(randomBytes(32));
  const document = sealDirector(
    {
      v: 1,
      device,
      version: 1_000_000,
      issuedAtMs: Date.now(),
      expiresAtMs: Date.now() + 3_600_000,
      models: [],
      remove: [plant.model],
    },
    stranger,
  );
  victim.proxy.inject(publishPacket(deviceTopic("plant", device).down("desired"), document));
  const code = await until(
    "the forged document is refused",
    async () => {
      const { refusals } = await fleet.api.get<{ refusals: { code: string }[] }>(`/v1/devices/${device}`);
      return refusals.find((refusal) => refusal.code.startsWith("ENVELOPE_"))?.code;
    },
    30_000,
  );
  say(`a director document signed by a foreign key: ${device} answers ${code}`);
  codes.push(code);
  return codes;
}

/** An MQTT 3.1.1 PUBLISH with QoS 0, as an attacker on the line writes it. */
function publishPacket(topic: string, payload: Uint8Array): Buffer {
  const name = Buffer.from(topic);
  const body = Buffer.concat([Buffer.from([name.length >> 8, name.length & 255]), name, payload]);
  const length: number[] = [];
  for (let rest = body.length; ; rest = Math.floor(rest / 128)) {
    if (rest < 128) {
      length.push(rest);
      break;
    }
    length.push((rest % 128) + 128);
  }
  return Buffer.concat([Buffer.from([0x30, ...length]), body]);
}

/** Flips one bit in the middle of the file that holds a blob, wherever the server keeps it. */
async function flipByte(folder: string, digest: string): Promise<void> {
  const hex = digest.replace("sha256:", "");
  for (const entry of await readdir(folder, { recursive: true })) {
    if (!entry.replaceAll("/", "").endsWith(hex)) continue;
    const path = join(folder, entry);
    const { size } = await stat(path);
    const file = await open(path, "r+");
    const byte = Buffer.alloc(1);
    const at = Math.floor(size / 2);
    await file.read(byte, 0, 1, at);
    byte[0] = (byte[0] as number) ^ 1;
    await file.write(byte, 0, 1, at);
    await file.close();
    return;
  }
  throw new Error(`no file below ${folder} holds the blob ${digest}`);
}

/** Chapter 6: a kill and a cut while data flow; then every sample is counted. */
export async function chaos(fleet: Fleet, plant: Plant, say: Say): Promise<Count> {
  const rows = Math.min(plant.rowsMax, (await rowsAtRest(fleet)) + 60);
  const speed = 6;
  await goOn(fleet, rows, speed, UNCHANGED);
  say(`every asset goes on to its row ${rows}`);
  const [killed, cut, halfOpen] = fleet.agents.slice(1, 4) as [DemoAgent, DemoAgent, DemoAgent];
  await wait(3_000);
  killed.running?.kill("SIGKILL");
  cut.proxy.cut();
  halfOpen.proxy.blackhole();
  say(
    `${killed.share.device} is killed, ${cut.share.device} is cut off, ${halfOpen.share.device} speaks into the void`,
  );
  await wait(4_000);
  await killed.running?.exited;
  await fleet.startAgent(killed, rows, speed);
  cut.proxy.heal();
  halfOpen.proxy.heal();
  return countRows(fleet, plant, rows, UNCHANGED);
}
