import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { temporaryFolder } from "../../../test/kit/folder.ts";
import { askLocal, serveLocal } from "./local.io.ts";

test("the running agent answers, each time anew", async () => {
  const folder = temporaryFolder();
  let asked = 0;
  const server = await serveLocal(folder, () => ({ asked: ++asked }));
  onTestFinished(() => void server.close());
  expect(await askLocal(folder)).toEqual({ ok: true, value: { asked: 1 } });
  expect(await askLocal(folder)).toEqual({ ok: true, value: { asked: 2 } });
});

test("a path too long for a socket works all the same", async () => {
  const folder = join(temporaryFolder(), "x".repeat(100), "y".repeat(100));
  mkdirSync(folder, { recursive: true });
  const server = await serveLocal(folder, () => ({ here: true }));
  onTestFinished(() => void server.close());
  expect(await askLocal(folder)).toEqual({ ok: true, value: { here: true } });
});

test("a dead agent's socket neither answers nor stops the next one", async () => {
  const folder = temporaryFolder();
  const dead = await serveLocal(folder, () => ({ life: 1 }));
  const alive = await serveLocal(folder, () => ({ life: 2 }));
  onTestFinished(() => void [dead.close(), alive.close()]);
  expect(await askLocal(folder)).toEqual({ ok: true, value: { life: 2 } });
  expect(await askLocal(temporaryFolder())).toMatchObject({ ok: false, error: { code: "AGENT_NOT_RUNNING" } });
});
