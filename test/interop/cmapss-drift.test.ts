import { describe, expect, onTestFinished, test } from "vitest";
import { createPredictor } from "../../agent/src/inference/predictor.ts";
import { openSession } from "../../agent/src/inference/session.io.ts";
import type { ModelSession } from "../../agent/src/inference/session.ts";
import { verifySlot } from "../../agent/src/trust/slot-files.io.ts";
import type { DriftOptions } from "../../fleet-server/src/retraining/drift.ts";
import { readHistory } from "../../fleet-server/src/retraining/history/import.io.ts";
import type { HistoryAsset, HistorySnapshot } from "../../fleet-server/src/retraining/history/snapshot.ts";
import { trainModel } from "../../fleet-server/src/retraining/train.ts";
import { alarmLimit, DISTANCE_MAX } from "../../protocol/src/drift/charts.ts";
import { buildTensors, readOutputs } from "../../protocol/src/package/tensors.ts";
import { unwrap } from "../../protocol/src/result.ts";
import { writeEngines } from "../kit/engines.ts";
import { temporaryFolder } from "../kit/folder.ts";
import { sharedData } from "../kit/shared.ts";
import { writeSlot } from "../kit/slots.ts";

/*
 * Engines that run to failure wear out for most of what is recorded of them. A device must not call that drift; a failure
 * that the reference never saw, or a sensor that moved, it must.
 */

const DIGEST = `sha256:${"0".repeat(64)}`;

async function historyOf(path: string): Promise<HistorySnapshot> {
  return unwrap(await readHistory({ samples: path }, { samples: { digest: DIGEST } })).snapshot;
}

/** A model that learnt from these engines, opened as a device opens its slot. */
async function sessionOf(snapshot: HistorySnapshot, drift: DriftOptions = {}): Promise<ModelSession> {
  const target = { kind: "rul" as const, cap: 125 };
  const request = { history: "engines", model: "engine-rul", target, seed: 1, drift };
  const built = unwrap(trainModel({ run: "run-1", request, snapshot: DIGEST }, snapshot, () => {})).package;
  const { model, golden, reference } = built.files;
  const profile = JSON.parse(Buffer.from(reference).toString());
  const { slotDir } = writeSlot(temporaryFolder("slot-"), model, { ...built.manifest, version: 1 }, profile, golden);
  const session = unwrap(await openSession(unwrap(await verifySlot(slotDir))));
  onTestFinished(() => session.close());
  return session;
}

/** Whether a device that watches this engine alone calls drift at any time. */
async function isCalled(session: ModelSession, { channels }: HistorySnapshot, engine: HistoryAsset): Promise<boolean> {
  const tensors = { build: buildTensors, read: readOutputs };
  const predictor = unwrap(createPredictor(session, { tensors, nowMs: () => 8e15 }));
  const conversion = { scale: 1, offset: 0, same: true };
  predictor.bind(
    engine.asset,
    session.manifest.channels.map(({ channel }) => ({ channel, conversion })),
  );
  let windows = 0;
  for (const [row, observedAtMs] of engine.timesMs.entries()) {
    const values = Object.fromEntries(channels.map(({ channel }, c) => [channel, engine.channels[c]![row]!]));
    predictor.push({ asset: engine.asset, observedAtMs, values });
    const { drift } = await predictor.flush();
    if (drift.some(({ phase }) => phase === "drifted")) return true;
    windows += drift.length;
  }
  expect(windows).toBe(Math.floor(engine.timesMs.length / session.reference.drift!.windowVectors));
  return false;
}

async function called(session: ModelSession, snapshot: HistorySnapshot): Promise<string[]> {
  const names: string[] = [];
  for (const engine of snapshot.assets) if (await isCalled(session, snapshot, engine)) names.push(engine.asset);
  return names;
}

/** Every second engine, and the others. */
function halves(snapshot: HistorySnapshot): [HistorySnapshot, HistorySnapshot] {
  const half = (rest: number) => ({ ...snapshot, assets: snapshot.assets.filter((_, i) => i % 2 === rest) });
  return [half(0), half(1)];
}

describe("NASA's engines", () => {
  const folder = sharedData("cmapss");
  const NOTE = "NASA's C-MAPSS files are not here (BELLWETHER_DATA): the simulated engines below stand in";

  test("wear is called drift on at most 5 % of the engines, run to failure or not; a new way to fail is called", async () => {
    if (folder === undefined) return expect(NOTE).toContain("BELLWETHER_DATA");
    const [learnt, others] = halves(await historyOf(`${folder}/train_FD001.txt`));
    const session = await sessionOf(learnt);
    const wornOut = await called(session, others);
    expect(others.assets).toHaveLength(50);
    expect(wornOut.length).toBeLessThanOrEqual(0.05 * 50);
    const running = await called(session, await historyOf(`${folder}/test_FD001.txt`));
    expect(running.length).toBeLessThanOrEqual(0.05 * 100);
    const otherwise = await called(session, await historyOf(`${folder}/train_FD003.txt`));
    expect(otherwise.length).toBeGreaterThanOrEqual(30);
  });
});

test("simulated engines: wear is not called; a sensor that moved is, where an engine lives long enough to be sure", async () => {
  const [learnt, others] = halves(await historyOf(writeEngines(80, 1, 4).train));
  // An engine lives for some 175 minutes, a 250th of a month: at this rate two in a hundred would be called by chance.
  const session = await sessionOf(learnt, { windowVectors: 8, falseAlarmsPerDeviceMonth: 5 });
  expect((await called(session, others)).length).toBeLessThanOrEqual(0.05 * 40);

  const reference = session.reference.drift!;
  const place = others.channels.findIndex(({ channel }) => channel === "s3");
  const changeAt = reference.baselineWindows * reference.windowVectors;
  // No window adds more to a chart than the largest distance less the largest allowance.
  const windows = Math.ceil(alarmLimit(reference, 1) / (DISTANCE_MAX - DISTANCE_MAX / 2)) + 2;
  const lasting = others.assets.filter(({ timesMs }) => timesMs.length >= changeAt + windows * reference.windowVectors);
  const moved = lasting.map((engine) => {
    const column = engine.channels[place]!.map((value, row) => (row < changeAt ? value : value + 3));
    return { ...engine, channels: engine.channels.with(place, column) };
  });
  expect(moved.length).toBeGreaterThanOrEqual(5);
  expect(await called(session, { ...others, assets: moved })).toEqual(moved.map(({ asset }) => asset));
});
