/**
 * The power fails while the agent as it is shipped takes an update: nothing that was not synced is there afterwards.
 * A few cuts by default; BELLWETHER_CAMPAIGN=full makes 50.
 */
import { setTimeout as wait } from "node:timers/promises";
import { seededRandom } from "@bellwether/protocol/random.ts";
import { expect, test } from "vitest";
import { testPackage, timesModel } from "../kit/packages.ts";
import { startDisk } from "../kit/power.ts";
import { directorBytes, releaseOf } from "../kit/tuf.ts";
import { startLane } from "../kit/update-lane.ts";
import { endedOn, goesOn, settle } from "../kit/update-lives.ts";
import { OLD, PATIENT } from "../kit/victims.ts";

const CUTS = process.env["BELLWETHER_CAMPAIGN"] === "full" ? 50 : 2;
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
  /** From the first words of the new document to the end of the update. */
  const heard = ({ models }: { models: readonly { phase?: string }[] }) => models[0]?.phase !== "idle";
  const whole = begin();
  const startMs = performance.now();
  await lane.until("the update begins", whole, heard);
  const beginsMs = performance.now() - startMs;
  await lane.until("the update succeeds", whole, endedOn("succeeded", GOOD));
  const endsMs = performance.now() - startMs;
  await whole.stop();

  const random = seededRandom(6);
  const phases: string[] = [];
  for (let cut = 0; cut < CUTS; cut += 1) {
    const agent = begin();
    // Every part of the update gets its share, the time before it (metadata) too.
    const share = (cut + random.next()) / CUTS;
    await wait(beginsMs * 0.6 + share * (endsMs - beginsMs * 0.6));
    disk.cut();
    agent.signal("SIGKILL");
    expect(await agent.ended).toBe("SIGKILL");
    await disk.restart();
    expect(() => lane.kept(), "what the update keeps can be read").not.toThrow();
    phases.push(lane.kept()?.phase ?? "none");
    expect(await goesOn(lane, "edge-1", [OLD, GOOD]), `cut ${cut}, ${phases.at(-1)}`).toBeGreaterThanOrEqual(10);
  }
  console.log(`${CUTS} power cuts; the phase on the disk after each: ${phases.join(" ")}`);
});
