import { writeFileSync } from "node:fs";
import { basename } from "node:path";
import { digestOf } from "@bellwether/protocol/package/check.ts";
import { machineTime } from "@bellwether/protocol/process/time.io.ts";
import { err, ok, type Result } from "@bellwether/protocol/result.ts";
import { releasePath } from "@bellwether/protocol/trust/releases.ts";
import { expect, onTestFinished, test } from "vitest";
import { eventually, holds } from "../../../test/kit/eventually.ts";
import { temporaryFolder } from "../../../test/kit/folder.ts";
import { testPackage } from "../../../test/kit/packages.ts";
import { directorBytes, KEYS, releaseOf } from "../../../test/kit/tuf.ts";
import type { SelfTestFindings } from "./machine.ts";
import { createUpdater } from "./runner.io.ts";
import type { SelfTestLimits } from "./selftest.io.ts";
import { openSlots } from "./slots.io.ts";

const release = (model: string, version = 1) => releaseOf(testPackage(undefined, undefined, { model }), version);
const [PUMP, FAN, BELT, NEWER_FAN] = [release("pump"), release("fan"), release("belt"), release("fan", 2)];
const RELEASED = [PUMP, FAN, BELT, NEWER_FAN];
const BLOBS = new Map(RELEASED.flatMap(({ blobs }) => blobs).map((blob) => [digestOf(blob), blob]));
const TARGETS = Object.fromEntries(
  RELEASED.map(({ model, version, manifestDigest: digest, manifestLength: length, releaseCounter }) => [
    releasePath(model, version),
    { digest, length, releaseCounter },
  ]),
);
const STARVED = err("SELF_TEST_STARVED", { wallMs: 1, cpuMs: 1 });

interface SelfTest {
  readonly digest: string;
  readonly limits: SelfTestLimits;
  end(answer?: Result<SelfTestFindings>): void;
}

/** An updater on its real disk, with a server that has everything at once and self-tests that end when the test says so. */
function startDevice(stateDir: string) {
  const selfTests: SelfTest[] = [];
  const updater = createUpdater(
    {
      stateDir,
      serverUrl: "http://server",
      device: "edge-1",
      rootMetadata: "",
      token: async () => ok("token"),
      transport: () => ({}),
      labels: () => ({}),
      compatible: () => ok(undefined),
      serve: async () => ({}),
      figures: async () => [],
      report: () => undefined,
      onForged: () => undefined,
      now: Date.now,
      clockSynced: () => true,
      log: () => undefined,
    },
    {
      slots: openSlots(stateDir),
      time: machineTime,
      askTime: async () => undefined,
      askMetadata: async () => ({
        ok: true,
        directorKeys: [Buffer.from(KEYS.director.publicKey).toString("hex")],
        targets: TARGETS,
        refused: {},
      }),
      async download({ file, digest }) {
        writeFileSync(file, BLOBS.get(digest)!);
        return ok(undefined);
      },
      selfTest: (slotDir, limits, signal) =>
        new Promise((resolve) => {
          const end = (answer: Result<SelfTestFindings> = ok({ goldenMaxError: 0 })) => resolve(answer);
          signal.addEventListener("abort", () => end(err("SELF_TEST_FAILED", { reason: "it was given up" })));
          selfTests.push({ digest: `sha256:${basename(slotDir)}`, limits, end });
        }),
    },
  );
  onTestFinished(() => updater.stop());
  updater.start();
  return {
    updater,
    begun: () => selfTests.map(({ digest }) => digest),
    /** Waits for the n-th self-test to begin. */
    nth: (n: number) => eventually(`self-test ${n} begins`, () => selfTests[n - 1], 15_000, 5),
    /** The phases on the disk, by model. */
    kept: () =>
      Object.fromEntries(
        openSlots(stateDir)
          .load()
          .models.map(({ model, phase }) => [model, phase]),
      ),
  };
}

test("self-tests of a device's models run one at a time; the others wait in their phase, also after a restart", async () => {
  const stateDir = temporaryFolder();
  const waiting = { pump: "selfTesting", fan: "selfTesting", belt: "selfTesting" };
  const first = startDevice(stateDir);
  first.updater.onDesired(directorBytes(1, [PUMP, FAN, BELT]));
  await holds(() => expect(first.kept()).toEqual(waiting));
  expect(first.begun()).toHaveLength(1);
  await first.updater.stop();
  expect(first.begun()).toHaveLength(1);
  expect(first.kept()).toEqual(waiting);

  const second = startDevice(stateDir);
  const limits = (await second.nth(1)).limits;
  for (const [n, left] of [2, 1, 0].entries()) {
    const { end, limits: own } = await second.nth(n + 1);
    expect(own).toEqual(limits);
    expect(second.begun()).toHaveLength(n + 1);
    end();
    await holds(() =>
      expect(Object.values(second.kept()).filter((phase) => phase === "selfTesting")).toHaveLength(left),
    );
  }
  expect(new Set(second.begun()).size).toBe(3);
  expect(second.kept()).toEqual({ pump: "confirming", fan: "confirming", belt: "confirming" });
});

test("a self-test that is wanted no more is left out, and one that starved waits behind the others", async () => {
  const device = startDevice(temporaryFolder());
  device.updater.onDesired(directorBytes(1, [PUMP, FAN, BELT]));
  const { end, digest } = await device.nth(1);
  await holds(() => expect(device.kept()).toEqual({ pump: "selfTesting", fan: "selfTesting", belt: "selfTesting" }));
  expect(digest).toBe(PUMP.manifestDigest);
  device.updater.onDesired(directorBytes(2, [PUMP, NEWER_FAN, BELT], { model: { assignedIn: 1 } }));
  await holds(() => expect(device.updater.states().find(({ model }) => model === "fan")?.target?.version).toBe(2));
  await holds(() => expect(device.kept()).toEqual({ pump: "selfTesting", fan: "selfTesting", belt: "selfTesting" }));
  end(STARVED);
  for (const n of [2, 3]) (await device.nth(n)).end();
  await device.nth(4);
  expect(device.begun()).toEqual([PUMP, BELT, NEWER_FAN, PUMP].map(({ manifestDigest }) => manifestDigest));
});
