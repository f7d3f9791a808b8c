import { join } from "node:path";
import { beforeAll, expect, onTestFinished } from "vitest";
import type { Bend, UpdateRow } from "../attacks/table/row.ts";
import { eventually } from "./eventually.ts";
import { suiteFolder, temporaryFolder } from "./folder.ts";
import { BOTH, NEW, OLD } from "./releases.ts";
import { directorBytes, type TestRelease, TestRepository } from "./tuf.ts";
import { copyOf, slotFiles, startUpdates, type TestDevice, type TestDeviceOptions } from "./updates.ts";

export { BOTH, endless, FOREIGN, NEW, OLD, PATIENT } from "./releases.ts";

/** A repository that is closed when the test ends. */
export async function startRepository(): Promise<TestRepository> {
  const repository = await TestRepository.start();
  onTestFinished(() => repository.close());
  return repository;
}

/** Call it at the top of a file: `victim` starts copies of a device that runs version 1 and has seen edition 2. */
export function victims() {
  const base = join(suiteFolder("bellwether-attacks-"), "edge-1");
  beforeAll(async () => {
    const repository = await TestRepository.start();
    const device = await startUpdates({ stateDir: base, serverUrl: repository.url });
    repository.publish(1, [OLD]);
    device.updater.onDesired(directorBytes(1, [OLD]));
    await confirmed(device, OLD);
    repository.publish(2, [OLD]);
    device.updater.onDesired(directorBytes(2, [OLD]));
    await eventually("document 2 is taken", () => device.reported().directorVersion === 2, 60_000);
    await device.close();
    repository.close();
  }, 120_000);

  /** Another device of the same past. */
  async function start(repository: TestRepository, options: Partial<TestDeviceOptions> = {}) {
    const served: unknown[] = [];
    const onServe = (serving: unknown) => void served.push(serving);
    const stateDir = copyOf(base, temporaryFolder());
    const device = await startUpdates({ stateDir, serverUrl: repository.url, onServe, ...options });
    onTestFinished(() => device.close());
    return { device, served };
  }

  /** Such a device hears of what was made of the repository. */
  async function told(repository: TestRepository, bend: Bend, labels: UpdateRow["labels"] = {}, nowMs?: number) {
    const given = bend(repository);
    const victim = await start(repository, { labels, ...(nowMs === undefined ? {} : { now: () => nowMs }) });
    victim.device.updater.onDesired(Buffer.isBuffer(given) ? given : directorBytes(3, [NEW]));
    return victim;
  }

  /** Whatever was tried: the old model serves, its files are what they were, and no other file has a final name. */
  async function expectUnharmed({ device, served }: { device: TestDevice; served: readonly unknown[] }): Promise<void> {
    expect(served).toEqual([]);
    expect(device.reported().models[0]?.active).toEqual({ version: 1, digest: OLD.manifestDigest });
    const slotDir = expect.stringContaining(OLD.manifestDigest.replace("sha256:", ""));
    expect(device.updater.servingAtStart()).toMatchObject([{ slotDir }]);
    expect(slotFiles(device.stateDir)).toEqual(slotFiles(base));
    const before = (await device.pipeline.figures()).models[0]?.inferences ?? 0;
    await eventually("the old model answers", async () => {
      const [model] = (await device.pipeline.figures()).models;
      return model?.digest === OLD.manifestDigest && model.errors === 0 && model.inferences > before;
    });
  }

  const taken: { readonly what: readonly unknown[]; readonly done: Promise<void> }[] = [];

  /** What a row begins with, before a device as it is: one has taken it for all rows that begin with the very same. */
  function expectTaken(repository: TestRepository, row: UpdateRow): Promise<void> {
    const { honest = edition3, runs = NEW, labels, nowMs } = row;
    const what = [honest, runs, labels, nowMs];
    const before = taken.find((one) => one.what.every((part, i) => part === what[i]));
    if (before) {
      honest(repository);
      return before.done;
    }
    const take = async () => {
      const willing = await told(repository, honest, labels, nowMs);
      await confirmed(willing.device, runs);
      await willing.device.close();
    };
    const done = take();
    taken.push({ what, done });
    return done;
  }

  /**
   * One row of the table: a device takes the unmodified documents; another of the same past refuses the attack with
   * the row's code and goes on with the old model. The attack over, that one takes what its owners released.
   */
  async function expectRefused(row: UpdateRow): Promise<void> {
    const { bend, labels, otherLabels = labels, nowMs, bounded } = row;
    const repository = await startRepository();
    await expectTaken(repository, row);
    repository.asked.length = 0;

    const victim = await told(repository, bend, otherLabels, nowMs);
    const { device } = victim;
    const why = () => device.reported().refusals[0] ?? device.reported().models[0]?.error;
    const refusal = await eventually("it is refused", why, 60_000);
    expect(refusal.code).toBe(row.code);
    if (row.reason) expect(refusal.message).toMatch(row.reason);
    // A line that fails and a package for other hardware are nobody's attack by themselves.
    const harmless = ["METADATA_UNREACHABLE", "DOWNLOAD_FAILED", "MODEL_WRONG_ARCHITECTURE"].includes(row.code);
    expect(device.forged).toEqual(harmless ? [] : expect.arrayContaining([row.code]));
    if (bounded) await eventually("it cost no more than it may", () => bounded(repository));
    await expectUnharmed(victim);

    repository.answers.clear();
    if (row.again === undefined) {
      repository.files.clear();
      repository.publish(10, BOTH, row.afterwards);
      device.updater.onDesired(directorBytes(10, [NEW]));
    }
    await confirmed(device, NEW);
  }

  return {
    start,
    expectUnharmed,
    expectRefused,
    /** The state directory of another device of the same past, that is not started. */
    copy: () => copyOf(base, temporaryFolder()),
  };
}

const edition3: Bend = (repository) => repository.publish(3, BOTH);

/** Waits until a release has proved itself on the device. */
export function confirmed(device: TestDevice, release: TestRelease, limitMs = 60_000): Promise<unknown> {
  const judge = () => {
    const [model] = device.reported().models;
    return model?.phase === "idle" && model.outcome === "succeeded" && model.active?.digest === release.manifestDigest;
  };
  return eventually(`version ${release.version} is confirmed`, judge, limitMs);
}
