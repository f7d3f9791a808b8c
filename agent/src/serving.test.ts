import { rmSync } from "node:fs";
import { join } from "node:path";
import { roleSpawner } from "@bellwether/protocol/process/roles.io.ts";
import { expect, test } from "vitest";
import { temporaryFolder } from "../../test/kit/folder.ts";
import { linearModel } from "../../test/kit/onnx.ts";
import { startTestPipeline } from "../../test/kit/pipeline.ts";
import { writeSlot } from "../../test/kit/slots.ts";
import { createLogger } from "./log.ts";
import type { AgentRole } from "./roles.io.ts";
import { ServingSet } from "./serving.io.ts";

const INPUT =
  "assets: [{id: pump-1}]\ninputs: [{id: site, type: mqtt, url: 'mqtt://127.0.0.1:9', points: [{name: x, asset: pump-1, channel: x, unit: mm/s, topic: x}]}]\n";

test("a model that cannot be opened goes on as it was, and keeps no other from being changed", async () => {
  const folder = temporaryFolder();
  const slot = (model: string, version: number) => {
    const { slotDir } = writeSlot(join(folder, `${model}-${version}`), linearModel([version]), { model, version });
    return { model, slotDir };
  };
  const [wear1, wear2, leak1, leak2] = [slot("wear", 1), slot("wear", 2), slot("leak", 1), slot("leak", 2)];
  const pipeline = await startTestPipeline(join(folder, "state"), INPUT, [wear1, leak1]);
  const log = createLogger({ level: "error", nowMs: Date.now, write: () => undefined });
  const spawner = roleSpawner<AgentRole>(new URL("./main.ts", import.meta.url));
  const serving = new ServingSet({ pipeline, spawner, log });
  rmSync(join(wear2.slotDir, "model.onnx"));
  // Both are wanted in one order, whichever of the two asked for it; the broken one is tried first.
  const answers = await serving.serve([wear2, leak2]);
  expect(new Map(answers.map(({ model, problem }) => [model, problem?.code]))).toEqual(
    new Map([
      ["wear", "SLOT_UNREADABLE"],
      ["leak", undefined],
    ]),
  );
  const versions = async () => new Map((await pipeline.figures()).models.map(({ model, version }) => [model, version]));
  const after = new Map([
    ["wear", 1],
    ["leak", 2],
  ]);
  expect(await versions()).toEqual(after);
  // Asked again it is as before: what is open is known, and nothing was forgotten.
  expect((await serving.serve([wear1, leak2])).every(({ problem }) => problem === undefined)).toBe(true);
  expect(await versions()).toEqual(after);
});
