/**
 * The power fails while the agent as it is shipped takes an update: nothing that was not synced is there afterwards.
 * A few cuts by default; BELLWETHER_CAMPAIGN=full makes 50.
 */
import { setTimeout as wait } from "node:timers/promises";
import type { UpdatePhase } from "@bellwether/protocol/messages/device.ts";
import { seededRandom } from "@bellwether/protocol/random.ts";
import { expect, test } from "vitest";
import { eventually } from "../kit/eventually.ts";
import { testPackage, timesModel } from "../kit/packages.ts";
import { startDisk } from "../kit/power.ts";
import { directorBytes, releaseOf } from "../kit/tuf.ts";
import { startLane } from "../kit/update-lane.ts";
import { endedOn, goesOn, settle } from "../kit/update-lives.ts";
import { OLD, PATIENT } from "../kit/victims.ts";

const FULL = process.env["BELLWETHER_CAMPAIGN"] === "full";
const CUTS = FULL ? 50 : 2;
const LOOK_MS = 2;
const PHASE_MS_MAX = 60_000;
const GOOD = releaseOf(testPackage(timesModel(20), [20, 40, 60], PATIENT), 2);

test(`after each of ${CUTS} power cuts during an update the agent goes on with what was released, and takes the next`, {
  timeout: 3_600_000,
}, async () => {
  const disk = startDisk();
  const lane = await startLane("edge-1", disk.folder);
  await settle(lane, "edge-1");
  const begin = () => {
    lane.restore();
    disk.sync();
    lane.repository.publish(3, [OLD, GOOD]);
    lane.wish = directorBytes(3, [GOOD]);
    return lane.start();
  };
  /** The phase on the disk, looked at often: some last for a few milliseconds. */
  const phaseOnDisk = (): UpdatePhase | undefined => {
    try {
      return lane.kept()?.phase;
    } catch {
      return undefined;
    }
  };
  const whole = begin();
  const lasted = new Map<UpdatePhase, number>();
  let over = false;
  const succeeded = lane.until("the update succeeds", whole, endedOn("succeeded", GOOD)).finally(() => {
    over = true;
  });
  for (let beforeMs = performance.now(); !over; ) {
    await wait(LOOK_MS);
    const phase = phaseOnDisk();
    const nowMs = performance.now();
    if (phase !== undefined) lasted.set(phase, (lasted.get(phase) ?? 0) + nowMs - beforeMs);
    beforeMs = nowMs;
  }
  await succeeded;
  await whole.stop();

  const random = seededRandom(6);
  const wanted = [...lasted.keys()];
  const struck: string[] = [];
  for (let cut = 0; cut < CUTS; cut += 1) {
    const agent = begin();
    const phase = wanted[cut % wanted.length] as UpdatePhase;
    // Every phase gets its share, somewhere within it; before the document has come it is the metadata's.
    let begun = false;
    const there = () => {
      const now = phaseOnDisk();
      begun ||= now !== "idle";
      // It may pass between two looks: then the cut comes after the update.
      return now === phase || (begun && now === "idle") || undefined;
    };
    await eventually(`the phase ${phase}`, there, PHASE_MS_MAX, LOOK_MS);
    await wait(random.next() * (lasted.get(phase) as number));
    disk.cut();
    agent.signal("SIGKILL");
    expect(await agent.ended).toBe("SIGKILL");
    await disk.restart();
    expect(() => lane.kept(), "what the update keeps can be read").not.toThrow();
    struck.push(`${phase} -> ${lane.kept()?.phase ?? "none"}`);
    expect(await goesOn(lane, "edge-1", [OLD, GOOD]), `cut ${cut}, ${struck.at(-1)}`).toBeGreaterThanOrEqual(10);
    if (FULL) console.log(`cut ${cut + 1} of ${CUTS}: ${struck.at(-1)}`);
  }
  console.log(`${CUTS} power cuts, the phase wanted and the one on the disk after it: ${struck.sort().join(", ")}`);
});
