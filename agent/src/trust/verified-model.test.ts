import { appendFileSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { unwrap } from "@bellwether/protocol/result.ts";
import { expect, test } from "vitest";
import { temporaryFolder } from "../../../test/kit/folder.ts";
import { linearModel } from "../../../test/kit/onnx.ts";
import { writeSlot } from "../../../test/kit/slots.ts";
import { readGolden, verifySlot } from "./slot-files.io.ts";

test.each([
  {
    name: "a changed model",
    code: "SLOT_CHANGED",
    spoil: (dir: string) => appendFileSync(join(dir, "model.onnx"), "x"),
  },
  {
    name: "a changed profile",
    code: "SLOT_CHANGED",
    spoil: (dir: string) => appendFileSync(join(dir, "reference.json"), " "),
  },
  { name: "a missing model", code: "SLOT_UNREADABLE", spoil: (dir: string) => rmSync(join(dir, "model.onnx")) },
  { name: "a missing manifest", code: "SLOT_UNREADABLE", spoil: (dir: string) => rmSync(join(dir, "manifest.json")) },
])("$name is not verified: $code", async ({ code, spoil }) => {
  const { slotDir } = writeSlot(temporaryFolder(), linearModel([2]));
  spoil(slotDir);
  expect(await verifySlot(slotDir)).toMatchObject({ ok: false, error: { code } });
});

test.each([
  ["says something else", (text: string) => text.replace('"p99LatencyMs":50', '"p99LatencyMs":59')],
  ["is none any more", (text: string) => `${text}}`],
])("a manifest that %s is not verified in its slot", async (_, spoil) => {
  const { slotDir } = writeSlot(temporaryFolder(), linearModel([2]));
  expect(await verifySlot(slotDir)).toMatchObject({ ok: true });
  const path = join(slotDir, "manifest.json");
  writeFileSync(path, spoil(readFileSync(path, "utf8")));
  expect(await verifySlot(slotDir)).toMatchObject({ ok: false, error: { code: "SLOT_CHANGED" } });
});

test("a reference that says nothing usable is refused before the model is loaded", async () => {
  const { slotDir } = writeSlot(
    temporaryFolder(),
    linearModel([2]),
    {},
    { v: 1, features: { "x.last": { median: null } } },
  );
  expect(await verifySlot(slotDir)).toMatchObject({ ok: false, error: { code: "INVALID_SHAPE" } });
});

test("a folder that is not named by its manifest's digest is no slot, whatever it holds", async () => {
  const { slotDir } = writeSlot(temporaryFolder(), linearModel([2]));
  const other = join(dirname(slotDir), "mine");
  renameSync(slotDir, other);
  expect(await verifySlot(other)).toMatchObject({ ok: false, error: { code: "SLOT_CHANGED" } });
});

test("golden vectors are those of the release", async () => {
  const { slotDir } = writeSlot(temporaryFolder(), linearModel([2]));
  const verified = unwrap(await verifySlot(slotDir));
  expect(await readGolden(verified)).toMatchObject({ ok: true });
  appendFileSync(join(slotDir, "golden.json"), " ");
  expect(await readGolden(verified)).toMatchObject({ ok: false, error: { code: "SLOT_CHANGED" } });
});
