import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { enrolledFolder, snapshotWhere, startAgentProcess } from "../kit/agent.ts";
import { temporaryFolder } from "../kit/folder.ts";
import { hangingModel, linearModel } from "../kit/onnx.ts";
import { installSlot, writeUpdateState } from "../kit/state.ts";

/** An enrolled state directory and a configuration that replays `x` = 1, 2, 3, … of one asset. */
function plant() {
  const folder = temporaryFolder();
  const stateDir = enrolledFolder(join(folder, "state"));
  const file = join(folder, "rows.csv");
  writeFileSync(file, ["x", ...Array.from({ length: 5_000 }, (_, i) => String(i + 1)), ""].join("\n"));
  const yaml = `
assets: [{id: pump-1}]
inputs: [{id: rec, type: replay, file: ${file}, asset: pump-1, rowsPerSecond: 50, points: [{name: x, channel: x, unit: mm/s}]}]
`;
  return { folder, stateDir, yaml };
}

const modelOf = (stateDir: string) => JSON.parse(readFileSync(join(stateDir, "update.json"), "utf8")).models[0];

test("a verified model serves from the first second, without any network", async () => {
  const { folder, stateDir, yaml } = plant();
  const { digest, version } = installSlot(stateDir, linearModel([2]));
  writeUpdateState(stateDir, { model: "pump-rul", active: { version, digest } });
  const agent = startAgentProcess(folder, stateDir, yaml);
  const { pipeline } = await snapshotWhere(
    "inferences",
    stateDir,
    (now) => (now.pipeline?.models[0]?.inferences ?? 0) > 20,
  );
  expect(pipeline?.models).toMatchObject([{ model: "pump-rul", version: 1, digest, errors: 0, assets: ["pump-1"] }]);
  // Every row of this life has its inference, but for what is under way: none came before the model was open.
  await snapshotWhere("an inference for every row", stateDir, ({ pipeline: now }) =>
    now === undefined ? false : (now.models[0]?.inferences ?? 0) >= now.rows - 5,
  );
  expect((await agent.stop()).ended).toBe(0);
});

test("a model that hangs costs one restart: the reason is kept, the version quarantined, the one before it serves", async () => {
  const { folder, stateDir, yaml } = plant();
  const good = installSlot(stateDir, linearModel([2]), { version: 1 });
  const bad = installSlot(stateDir, hangingModel(100), { version: 2 });
  writeUpdateState(stateDir, {
    model: "pump-rul",
    active: { version: 2, digest: bad.digest },
    previous: { version: 1, digest: good.digest },
  });
  const first = startAgentProcess(folder, stateDir, yaml);
  expect(await first.ended).toBe("SIGKILL");
  expect(first.log().at(-1)).toMatchObject({ level: "error", kind: "hung", slotDir: bad.slotDir });
  expect(JSON.parse(readFileSync(join(stateDir, "hang.json"), "utf8"))).toMatchObject({ slotDir: bad.slotDir });

  const second = startAgentProcess(folder, stateDir, yaml);
  const { pipeline } = await snapshotWhere("the version before it serves", stateDir, (now) => {
    return (now.pipeline?.models[0]?.inferences ?? 0) > 20;
  });
  expect(pipeline?.models).toMatchObject([{ version: 1, digest: good.digest, errors: 0 }]);
  const state = modelOf(stateDir);
  expect(state).toMatchObject({ active: { version: 1 }, error: { code: "INFERENCE_HUNG" } });
  expect(Object.keys(state.quarantined)).toEqual([bad.digest]);
  expect(existsSync(join(stateDir, "hang.json"))).toBe(false);
  expect((await second.stop()).ended).toBe(0);
});

test("a slot that rotted on the disk is not run: the version before it serves", async () => {
  const { folder, stateDir, yaml } = plant();
  const good = installSlot(stateDir, linearModel([2]), { version: 1 });
  const rotten = installSlot(stateDir, linearModel([3]), { version: 2 });
  writeUpdateState(stateDir, {
    model: "pump-rul",
    active: { version: 2, digest: rotten.digest },
    previous: { version: 1, digest: good.digest },
  });
  const path = join(rotten.slotDir, "model.onnx");
  const bytes = readFileSync(path);
  bytes[bytes.length - 1]! ^= 1;
  writeFileSync(path, bytes);
  const agent = startAgentProcess(folder, stateDir, yaml);
  const { models } = await snapshotWhere("the version before it serves", stateDir, ({ pipeline }) => {
    const [model] = pipeline?.models ?? [];
    return model?.version === 1 && model.inferences > 0;
  });
  expect(models).toMatchObject([{ outcome: "rolledBack", active: { version: 1 }, error: { code: "SLOT_CHANGED" } }]);
  expect(modelOf(stateDir)).toMatchObject({ error: { code: "SLOT_CHANGED" }, active: { version: 1 } });
  expect((await agent.stop()).ended).toBe(0);
});
