import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { EventRecord, InferenceRecord } from "@bellwether/protocol/messages/stream.ts";
import { digestOf } from "@bellwether/protocol/package/check.ts";
import { unwrap } from "@bellwether/protocol/result.ts";
import { expect } from "vitest";
import { openOutbox } from "../../agent/src/buffer/outbox.io.ts";
import { drain, outboxOptions } from "./outbox.ts";
import { testPackage, timesModel } from "./packages.ts";
import { directorBytes, releaseOf, type TestRelease } from "./tuf.ts";
import type { UpdateLane } from "./update-lane.ts";
import { OLD, PATIENT } from "./victims.ts";

/** What every device of these tests is asked for in the end, whatever befell it before. */
export const FURTHER = releaseOf(testPackage(timesModel(40), [40, 80, 120], PATIENT), 9);

/** In a network namespace of its own there is not even a loopback. */
const WITHOUT_NETWORK = ["/usr/bin/unshare", "-n"];
const PREDICTIONS = 10;

const hexOf = (digest: string) => digest.replace("sha256:", "");

/** Whether the running agent has reported this end of an update. */
export const endedOn = (outcome: string, { manifestDigest }: TestRelease) => {
  return ({ models }: { models: readonly { outcome?: string; active?: { digest: string } }[] }) =>
    models[0]?.outcome === outcome && models[0].active?.digest === manifestDigest;
};

/** Brings the lane's device to a confirmed first version, and remembers that. */
export async function settle(lane: UpdateLane, device: string): Promise<void> {
  lane.repository.publish(1, [OLD]);
  lane.wish = directorBytes(1, [OLD], { device });
  const agent = lane.start();
  await lane.until("the first version is confirmed", agent, endedOn("succeeded", OLD));
  await agent.stop();
  lane.remember();
}

/**
 * What must hold after anything: without any network the agent starts and makes new predictions, each with the digest of
 * a released package whose files are what was signed; with the network, a further update succeeds. Their number.
 */
export async function goesOn(lane: UpdateLane, device: string, released: readonly TestRelease[]): Promise<number> {
  const before = predictionsOf(lane.stateDir).length;
  const alone = lane.start(WITHOUT_NETWORK);
  await lane.until("predictions without the network", alone, ({ pipeline }) => {
    const model = pipeline?.models[0];
    // What was counted may not be durable yet, on a slow disk for long: some more than are wanted.
    return model !== undefined && model.inferences - pipeline!.outbox.pending >= PREDICTIONS + 40;
  });
  alone.signal("SIGKILL");
  await alone.ended;
  const digests = filesInUse(lane);
  const made = predictionsOf(lane.stateDir).slice(before);
  expect(made.length).toBeGreaterThanOrEqual(PREDICTIONS);
  for (const { digest } of made) {
    expect(released.map(({ manifestDigest }) => manifestDigest)).toContain(digest);
    expect(digests).toContain(digest);
  }
  const all = [...released, FURTHER];
  lane.repository.publish(90, all);
  lane.wish = directorBytes(90, [FURTHER], { device });
  const agent = lane.start();
  await lane.until("a further update succeeds", agent, endedOn("succeeded", FURTHER));
  agent.signal("SIGKILL");
  await agent.ended;
  return made.length;
}

/** Digests of the slots on the disk, each whole: the manifest by its folder's name, the model by the manifest. */
function filesInUse({ stateDir }: UpdateLane): string[] {
  const folder = join(stateDir, "slots", "pump-rul");
  return readdirSync(folder)
    .filter((name) => !name.includes("."))
    .map((name) => {
      const manifest = readFileSync(join(folder, name, "manifest.json"));
      expect(hexOf(digestOf(manifest))).toBe(name);
      const { files } = JSON.parse(manifest.toString("utf8"));
      expect(digestOf(readFileSync(join(folder, name, "model.onnx")))).toBe(files.model.digest);
      return digestOf(manifest);
    });
}

/** Predictions with a value in a dead agent's outbox. */
function predictionsOf(stateDir: string): InferenceRecord[] {
  return inferencesOf(stateDir).filter(({ value }) => value !== undefined);
}

/** Predictions, and the errors that stood in their place, in a dead agent's outbox. */
export function inferencesOf(stateDir: string): InferenceRecord[] {
  return recordsOf(stateDir, "inference") as InferenceRecord[];
}

/** Events in a dead agent's outbox. */
export function eventsOf(stateDir: string): EventRecord[] {
  return recordsOf(stateDir, "event") as EventRecord[];
}

function recordsOf(stateDir: string, wanted: "inference" | "event") {
  const copy = mkdtempSync(join(tmpdir(), "bellwether-outbox-"));
  try {
    for (const name of readdirSync(stateDir))
      if (name.startsWith("outbox")) cpSync(join(stateDir, name), join(copy, name));
    const outbox = unwrap(openOutbox(join(copy, "outbox.sqlite"), outboxOptions()));
    const found = drain(outbox).flatMap(({ stream, records }) => (stream === wanted ? records : []));
    unwrap(outbox.close());
    return found;
  } finally {
    rmSync(copy, { recursive: true, force: true });
  }
}
