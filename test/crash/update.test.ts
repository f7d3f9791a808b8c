import { spawn } from "node:child_process";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { createInterface } from "node:readline";
import type { ReportedModel } from "@bellwether/protocol/messages/device.ts";
import { digestOf } from "@bellwether/protocol/package/check.ts";
import { expect, onTestFinished, test } from "vitest";
import { type ModelState, runningOf } from "../../agent/src/update/machine.ts";
import type { Serving } from "../../agent/src/update/runner.io.ts";
import { patient } from "../kit/eventually.ts";
import { temporaryFolder } from "../kit/folder.ts";
import { testPackage, timesModel } from "../kit/packages.ts";
import { directorBytes, releaseOf, type TestRelease } from "../kit/tuf.ts";
import { startUpdates } from "../kit/updates.ts";
import { BOTH, confirmed, NEW, OLD, PATIENT, startRepository, victims } from "../kit/victims.ts";

const { copy } = victims();
const CHILD = new URL("./update-child.ts", import.meta.url).pathname;
const HOOK = new URL("./kill-at.ts", import.meta.url).pathname;
/** Port 9 of loopback answers nobody. */
const NOBODY = "http://127.0.0.1:9";
const LIFE_MS_MAX = patient(60_000);
/** Every second step by default, all of them with BELLWETHER_CAMPAIGN=full. */
const STRIDE = process.env["BELLWETHER_CAMPAIGN"] === "full" ? 1 : 2;
const LONG = { timeout: 900_000 };
/** Good to its golden vectors, but beyond its range from the fourth row on. */
const WORTHLESS = releaseOf(
  testPackage(timesModel(3), [3, 6, 9], {
    ...PATIENT,
    outputs: [{ name: "value", output: "out", meaning: "value", primary: true, range: [0, 10] }],
  }),
  2,
);

interface Device {
  readonly stateDir: string;
  /** File of the director document that it hears of in each life. */
  readonly document: string;
}

type Said =
  | { readonly kind: "point"; readonly what: string }
  | {
      readonly kind: "opened";
      readonly what: readonly { slotDir: string; problem?: unknown; digests: readonly string[] }[];
    }
  | {
      readonly kind: "serve";
      readonly what: { serving?: Serving; kept: ModelState; digests?: readonly string[] };
    }
  | { readonly kind: "report"; readonly what: readonly ReportedModel[] };

function deviceThatHears(document: Buffer): Device {
  const device = { stateDir: copy(), document: join(temporaryFolder(), "document") };
  writeFileSync(device.document, document);
  return device;
}

/** One life of a device: it ends by SIGKILL at a point, or as soon as it has said something. What it said. */
async function live(device: Device, serverUrl: string, end: { at?: string; when?: (said: Said) => boolean }) {
  const child = spawn(process.execPath, ["--import", HOOK, CHILD, device.stateDir, serverUrl, device.document], {
    stdio: ["ignore", "pipe", "inherit"],
    env: { ...process.env, KILL_BELOW: device.stateDir, ...(end.at === undefined ? {} : { KILL_AT: end.at }) },
  });
  onTestFinished(() => void child.kill("SIGKILL"));
  const died = new Promise((resolve) => child.once("exit", (code, signal) => resolve(code ?? signal)));
  const all: Said[] = [];
  let late = false;
  const timer = setTimeout(() => {
    late = true;
    child.kill("SIGKILL");
  }, LIFE_MS_MAX);
  for await (const line of createInterface({ input: child.stdout })) {
    const [kind = ""] = line.split(" ", 1);
    const text = line.slice(kind.length + 1);
    const said = { kind, what: kind === "point" ? text : JSON.parse(text) } as Said;
    all.push(said);
    if (end.when?.(said)) child.kill("SIGKILL");
  }
  expect(await died).toBe("SIGKILL");
  clearTimeout(timer);
  if (late)
    throw new Error(
      `not within ${LIFE_MS_MAX} ms: its end; last: ${JSON.stringify(all.findLast(({ kind }) => kind === "report"))}`,
    );
  return all;
}

const ended = (outcome: string, { manifestDigest }: TestRelease) => {
  return ({ kind, what }: Said) =>
    kind === "report" && what[0]?.outcome === outcome && what[0].active?.digest === manifestDigest;
};
const hexOf = ({ manifestDigest }: TestRelease) => manifestDigest.replace("sha256:", "");
const keptBy = ({ stateDir }: Device): ModelState =>
  JSON.parse(readFileSync(join(stateDir, "update.json"), "utf8")).models[0];

/** Nothing but whole, released packages is ever opened or served, and the disk said so before. */
function judge(life: readonly Said[], releases: readonly TestRelease[]): void {
  const blobs = (slotDir: string) =>
    releases
      .find((one) => hexOf(one) === basename(slotDir))
      ?.blobs.map(digestOf)
      .sort();
  for (const { kind, what } of life) {
    if (kind === "opened") {
      expect(what).toHaveLength(1);
      expect(what[0]!.problem).toBeUndefined();
      expect(what[0]!.digests).toEqual(blobs(what[0]!.slotDir));
    }
    if (kind !== "serve") continue;
    const { slot, predecessor } = runningOf(what.kept)!;
    const { slotDir, predecessorSlotDir } = what.serving!;
    expect(what.digests).toEqual(blobs(slotDir));
    expect(`sha256:${basename(slotDir)}`).toBe(slot.digest);
    expect(predecessorSlotDir && `sha256:${basename(predecessorSlotDir)}`).toBe(predecessor?.digest);
  }
}

/** Runs `check` for each point, two at a time. */
async function forEach(points: readonly string[], check: (point: string) => Promise<void>): Promise<void> {
  const left = [...points];
  const worker = async () => {
    for (let point = left.shift(); point !== undefined; point = left.shift()) await check(point);
  };
  await Promise.all([worker(), worker()]);
}

/** Points that differ in what they leave: before a file is synced it is what it was before it was written. */
const ALIKE = /fsync .*\.tmp$|\.partial\/|(snapshot|targets|timestamp)\.json|fsync \/tuf\/generation/;

const pointsOf = (life: readonly Said[]): string[] =>
  life.flatMap(({ kind, what }) => (kind === "point" && !ALIKE.test(what) ? [what.split(" ", 1)[0]!] : []));

test(
  "killed before and after every durable step of an update, a device ends on the new model by itself",
  LONG,
  async () => {
    const repository = await startRepository();
    repository.publish(3, BOTH);
    const document = directorBytes(3, [NEW]);
    const whole = await live(deviceThatHears(document), repository.url, { when: ended("succeeded", NEW) });
    judge(whole, BOTH);
    const points = pointsOf(whole);
    expect(points.filter((point) => point.startsWith("agent:")).length).toBeGreaterThanOrEqual(20);
    expect(points.filter((point) => point.startsWith("metadata:")).length).toBeGreaterThanOrEqual(5);
    const phases = new Set<string>();
    const tried = points.filter((_, i) => i % STRIDE === 0);
    await forEach(tried, async (at) => {
      const device = deviceThatHears(document);
      judge(await live(device, repository.url, { at }), BOTH);
      const { phase, active } = keptBy(device);
      phases.add(phase);
      expect([OLD.manifestDigest, NEW.manifestDigest], at).toContain(active?.digest);
      // With the package on the disk, all that follows needs no network.
      const url = ["selfTesting", "activating", "confirming"].includes(phase) ? NOBODY : repository.url;
      judge(await live(device, url, { when: ended("succeeded", NEW) }), BOTH);
      expect(readdirSync(join(device.stateDir, "slots", "pump-rul")).sort(), at).toEqual(BOTH.map(hexOf).sort());
    });
    expect([...phases].sort()).toEqual(["activating", "confirming", "downloading", "idle", "selfTesting", "verifying"]);
  },
);

test(
  "killed on the way back from a worthless model, a device ends on the old one without the network",
  LONG,
  async () => {
    const repository = await startRepository();
    const releases = [OLD, WORTHLESS];
    repository.publish(3, releases);
    const document = directorBytes(3, [WORTHLESS]);
    const whole = await live(deviceThatHears(document), repository.url, { when: ended("rolledBack", OLD) });
    judge(whole, releases);
    const serves = whole.findIndex(({ kind }) => kind === "serve");
    const points = pointsOf(whole.slice(serves));
    expect(points.length).toBeGreaterThanOrEqual(6);
    const phases = new Set<string>();
    await forEach(points, async (at) => {
      const device = deviceThatHears(document);
      judge(await live(device, repository.url, { at }), releases);
      phases.add(keptBy(device).phase);
      judge(await live(device, NOBODY, { when: ended("rolledBack", OLD) }), releases);
      expect(Object.keys(keptBy(device).quarantined), at).toEqual([WORTHLESS.manifestDigest]);
    });
    expect(phases).toContain("rollingBack");
  },
);

test("a new model during which the power fails again and again is given up for the old one", LONG, async () => {
  const repository = await startRepository();
  repository.publish(3, BOTH);
  const confirm = { inferences: 5, soakMs: 600_000, deadlineMs: 900_000, errorFraction: 0 };
  const device = deviceThatHears(directorBytes(3, [NEW], { model: { confirm } }));
  const confirming = ({ kind, what }: Said) => kind === "report" && what[0]?.phase === "confirming";
  for (let life = 0; life < 4; life++) judge(await live(device, repository.url, { when: confirming }), BOTH);
  judge(await live(device, NOBODY, { when: ended("rolledBack", OLD) }), BOTH);
  expect(keptBy(device)).toMatchObject({ error: { code: "CONFIRM_INTERRUPTED" }, active: { version: 1 } });
});

test.each([
  ["manifest.json", (text: string) => text.replace('"p99LatencyMs":10000', '"p99LatencyMs":10001')],
  ["model.onnx", (text: string) => `${text}x`],
])(
  "a %s that rots on the disk is not run but fetched anew, where there is no model to go back to",
  LONG,
  async (name, spoil) => {
    const repository = await startRepository();
    repository.publish(2, [OLD]);
    const stateDir = copy();
    const path = join(stateDir, "slots", "pump-rul", hexOf(OLD), name);
    const whole = readFileSync(path, "latin1");
    writeFileSync(path, spoil(whole), "latin1");
    const device = await startUpdates({ stateDir, serverUrl: repository.url });
    onTestFinished(() => device.close());
    expect(device.pipeline.outcomes).toMatchObject([{ problem: { code: "SLOT_CHANGED" } }]);
    await confirmed(device, OLD);
    expect(readFileSync(path, "latin1")).toBe(whole);
    expect((await device.pipeline.figures()).models).toMatchObject([{ digest: OLD.manifestDigest, errors: 0 }]);
  },
);
