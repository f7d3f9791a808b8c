import { execFileSync } from "node:child_process";
import { mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { bundleFile, documentPath } from "@bellwether/protocol/bundle.ts";
import { beforeEach, expect, test } from "vitest";
import { eventually } from "../kit/eventually.ts";
import { temporaryFolder } from "../kit/folder.ts";
import { directorBytes, TestRepository } from "../kit/tuf.ts";
import { BOTH, confirmed, NEW, startRepository, victims } from "../kit/victims.ts";
import { DIRECTOR } from "./table/director.ts";
import { METADATA } from "./table/metadata.ts";
import { type Bend, named } from "./table/row.ts";
import { PACKAGES } from "./table/transfer.ts";

const { expectUnharmed, start } = victims();
const LONG = { timeout: 180_000 };

let folder: string;
beforeEach(() => {
  folder = join(temporaryFolder(), "bundle");
});

/** What a repository would answer, as files. */
function layDown({ files }: TestRepository, document: Buffer): void {
  rmSync(folder, { recursive: true, force: true });
  for (const [path, bytes] of [...files, [documentPath("edge-1"), document] as const]) {
    const file = join(folder, bundleFile(path.startsWith("/") ? path : `/v1/${path}`));
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, bytes);
  }
}

const probe = await TestRepository.start();
const edition3: Bend = (repository) => repository.publish(3, BOTH);
/** Of each refusal one attack that is files, and not the way in which a server answers. */
const WRITTEN = [...DIRECTOR, ...METADATA, ...PACKAGES].filter(({ code, bend }, index, all) => {
  bend(probe);
  const asksForMore = probe.answers.size > 0;
  probe.answers.clear();
  return !asksForMore && all.findIndex((one) => one.code === code) === index;
});
probe.close();

/** Nobody answers there. */
const NO_LINE = { serverUrl: "http://127.0.0.1:9" };

test.each(named(WRITTEN))("on a stick: %s", LONG, async (_, row) => {
  const { honest = edition3, bend, nowMs, labels = {}, otherLabels = labels } = row;
  const repository = await startRepository();
  const victim = await start(repository, {
    ...NO_LINE,
    labels: otherLabels,
    ...(nowMs === undefined ? {} : { now: () => nowMs }),
  });
  const { device } = victim;
  honest(repository);
  const given = bend(repository);
  layDown(repository, Buffer.isBuffer(given) ? given : directorBytes(3, [NEW]));
  const answer = await device.updater.onBundle(folder);
  const refusal = await eventually("it is refused", () => device.reported().refusals[0], 60_000);
  expect(refusal.code).toBe(row.code);
  if (!answer.ok) expect(answer.error.code).toBe(row.code);
  if (row.reason) expect(refusal.message).toMatch(row.reason);
  await expectUnharmed(victim);

  repository.files.clear();
  repository.publish(10, BOTH, row.afterwards);
  layDown(repository, directorBytes(10, [NEW]));
  expect(await device.updater.onBundle(folder)).toMatchObject({ ok: true, value: { directorVersion: 10 } });
  await confirmed(device, NEW);
});

test("a stick's links and pipes lead nowhere", LONG, async () => {
  const repository = await startRepository();
  repository.publish(3, BOTH);
  const victim = await start(repository, NO_LINE);
  const document = directorBytes(3, [NEW]);
  const file = join(folder, bundleFile(documentPath("edge-1")));
  layDown(repository, document);
  for (const lay of [() => symlinkSync("document.true", file), () => execFileSync("mkfifo", [file])]) {
    renameSync(file, `${file}.true`);
    lay();
    const answer = await victim.device.updater.onBundle(folder);
    expect(answer).toMatchObject({ ok: false, error: { code: "BUNDLE_UNREADABLE" } });
    renameSync(`${file}.true`, file);
  }
  await expectUnharmed(victim);
  expect(await victim.device.updater.onBundle(folder)).toMatchObject({ ok: true });
  await confirmed(victim.device, NEW);
});
