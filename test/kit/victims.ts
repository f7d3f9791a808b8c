import { join } from "node:path";
import { beforeAll, expect, onTestFinished } from "vitest";
import { eventually } from "./eventually.ts";
import { suiteFolder, temporaryFolder } from "./folder.ts";
import { testPackage, timesModel } from "./packages.ts";
import { directorBytes, releaseOf, type TestRelease, TestRepository } from "./tuf.ts";
import { copyOf, slotFiles, startUpdates, type TestDevice, type TestDeviceOptions } from "./updates.ts";

/** Limits of models that must not be judged by how busy the machine is. */
export const PATIENT = { limits: { p99LatencyMs: 10_000, memoryMb: 256 } } as const;

/** What the attacked device runs, what its owners released after it, and what nobody released. */
export const OLD = releaseOf(testPackage(timesModel(10), [10, 20, 30], PATIENT), 1);
export const NEW = releaseOf(testPackage(timesModel(20), [20, 40, 60], PATIENT), 2);
export const BOTH = [OLD, NEW];
export const FOREIGN = releaseOf(testPackage(timesModel(30), [30, 60, 90], PATIENT), 3);

/** Bends a repository; a buffer it returns is the director document that the device hears of. */
export type Attack = (repository: TestRepository) => unknown;

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
    const onServe = (models: unknown) => void served.push(models);
    const stateDir = copyOf(base, temporaryFolder());
    const device = await startUpdates({ stateDir, serverUrl: repository.url, onServe, ...options });
    onTestFinished(() => device.close());
    return { device, served };
  }

  return {
    start,

    /** The state directory of another device of the same past, that is not started. */
    copy: () => copyOf(base, temporaryFolder()),

    /** Attacks such a device; what it refused first, or failed for. */
    async attacked(repository: TestRepository, attack: Attack, options: Partial<TestDeviceOptions> = {}) {
      const given = attack(repository);
      const victim = await start(repository, options);
      victim.device.updater.onDesired(Buffer.isBuffer(given) ? given : directorBytes(3, [NEW]));
      const why = () => victim.device.reported().refusals[0] ?? victim.device.reported().models[0]?.error;
      return { ...victim, refusal: await eventually("it is refused", why, 60_000) };
    },

    /** Whatever was tried: the old model serves, its files are what they were, and no other file has a final name. */
    async expectUnharmed({ device, served }: { device: TestDevice; served: readonly unknown[] }): Promise<void> {
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
    },

    /** The attack over, the same device takes what its owners released: nothing of the attack has stayed. */
    async expectRecovery(
      { device }: { device: TestDevice },
      repository: TestRepository,
      bent: Parameters<TestRepository["publish"]>[2] = {},
    ): Promise<void> {
      repository.answers.clear();
      repository.files.clear();
      repository.publish(10, BOTH, bent);
      device.updater.onDesired(directorBytes(10, [NEW]));
      await confirmed(device, NEW);
    },
  };
}

/** Waits until a release has proved itself on the device. */
export function confirmed(device: TestDevice, release: TestRelease, limitMs = 60_000): Promise<unknown> {
  const judge = () => {
    const [model] = device.reported().models;
    return model?.phase === "idle" && model.outcome === "succeeded" && model.active?.digest === release.manifestDigest;
  };
  return eventually(`version ${release.version} is confirmed`, judge, limitMs);
}

const ENDLESS_BYTES = 64 * 1_048_576;

/** Answers with more bytes than anybody should take; how many were taken. */
export function endless(repository: TestRepository, path: string, headers = {}, chunk = Buffer.alloc(65_536, "[")) {
  const sent = { bytes: 0 };
  repository.answers.set(path, (_, response) => {
    response.writeHead(200, headers);
    const go = () => {
      while (!response.closed && sent.bytes < ENDLESS_BYTES && response.write(chunk)) sent.bytes += chunk.byteLength;
      if (sent.bytes >= ENDLESS_BYTES) response.destroy();
    };
    response.on("drain", go);
    go();
  });
  return sent;
}
