import { once } from "node:events";
import { rmSync } from "node:fs";
import { join } from "node:path";
import { Worker } from "node:worker_threads";
import { expect, test } from "vitest";
import { eventually } from "../../test/kit/eventually.ts";
import { temporaryFolder } from "../../test/kit/folder.ts";
import { linearModel } from "../../test/kit/onnx.ts";
import { startTestPipeline } from "../../test/kit/pipeline.ts";
import { programSpawner } from "../../test/kit/programs.ts";
import { writeSlot } from "../../test/kit/slots.ts";
import { tryCandidate } from "./inference/candidate.worker.ts";
import { createLogger } from "./log.ts";
import type { AgentRole } from "./roles.io.ts";
import { type ServeParts, ServingSet } from "./serving.io.ts";

const INPUT =
  "assets: [{id: pump-1}]\ninputs: [{id: site, type: mqtt, url: 'mqtt://127.0.0.1:9', points: [{name: x, asset: pump-1, channel: x, unit: mm/s, topic: x}]}]\n";

const log = createLogger({ level: "error", nowMs: Date.now, write: () => undefined });
const spawner = programSpawner<AgentRole>("bellwether-agent");

async function twoModels() {
  const folder = temporaryFolder();
  const slot = (model: string, version: number) => {
    const { slotDir } = writeSlot(join(folder, model), linearModel([version]), { model, version });
    return { model, slotDir };
  };
  const slots = [slot("wear", 1), slot("wear", 2), slot("leak", 1), slot("leak", 2)] as const;
  const pipeline = await startTestPipeline(join(folder, "state"), INPUT, [slots[0], slots[2]]);
  const versions = async () => new Map((await pipeline.figures()).models.map(({ model, version }) => [model, version]));
  return { slots, pipeline, versions };
}

test("a model that cannot be opened goes on as it was, and keeps no other from being changed", async () => {
  const { slots, pipeline, versions } = await twoModels();
  const [wear1, wear2, , leak2] = slots;
  const serving = new ServingSet({ pipeline, spawner, log });
  rmSync(join(wear2.slotDir, "model.onnx"));
  const answers = await Promise.all([serving.serve("wear", wear2), serving.serve("leak", leak2)]);
  expect(answers.map(({ problem }) => problem?.code)).toEqual(["SLOT_UNREADABLE", undefined]);
  const after = new Map([
    ["wear", 1],
    ["leak", 2],
  ]);
  expect(await versions()).toEqual(after);
  // Asked again it is as before: what is open is known, and nothing was forgotten.
  expect(await serving.serve("wear", wear1)).not.toHaveProperty("problem");
  expect(await versions()).toEqual(after);
  await serving.serve("wear", undefined);
  expect(await versions()).toEqual(new Map([["leak", 2]]));
});

test("a candidate that loads too late is closed all the same, and its thread ends", async () => {
  const { slotDir } = writeSlot(temporaryFolder(), linearModel([1]));
  const worker = spawner.worker("candidate", { slotDir });
  const ended = once(worker, "exit");
  expect(await tryCandidate(worker, 0)).toMatchObject({ ok: false, problem: { code: "CANDIDATE_LOST" } });
  expect(await ended).toEqual([0]);
});

test("a model that hangs while it loads keeps no other waiting, to be changed or to be removed", async () => {
  const { slots, pipeline, versions } = await twoModels();
  const [, wear2, , leak2] = slots;
  let hanging: Worker | undefined;
  const hangs: ServeParts["spawner"] = {
    ...spawner,
    worker(role, data) {
      if ((data as { slotDir: string }).slotDir !== wear2.slotDir) return spawner.worker(role, data);
      hanging = new Worker("for (;;);", { eval: true });
      return hanging;
    },
  };
  const serving = new ServingSet({ pipeline, spawner: hangs, log });
  const wear = serving.serve("wear", wear2);
  let wearIsSettled = false;
  void wear.then(() => {
    wearIsSettled = true;
  });
  void serving.serve("leak", leak2);
  await eventually("the other is changed", async () => (await versions()).get("leak") === 2);
  void serving.serve("leak", undefined);
  await eventually("the other is removed", async () => !(await versions()).has("leak"));
  expect(wearIsSettled).toBe(false);
  await hanging!.terminate();
  expect(await wear).toMatchObject({ problem: { code: "CANDIDATE_LOST" } });
  expect(await versions()).toEqual(new Map([["wear", 1]]));
});
