import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { unwrap } from "@bellwether/protocol/result.ts";
import { COMMANDS } from "../../fleet-server/src/store/sqlite/commands.ts";
import { openWriter } from "../../fleet-server/src/store/sqlite/store.worker.ts";
import { type Allowed, checkFigures, checkPredictions, checkPresence, checkTelemetry } from "./checkers.ts";
import { SimDevice } from "./device.ts";
import { memoryFolder, SimDisk } from "./disk.ts";
import { checkLetters } from "./letters.ts";
import { ImageRepository } from "./models.ts";
import { Network, SITE } from "./network.ts";
import { type Plan, planOf, schedule } from "./plan.ts";
import { checkReads, Newest } from "./reads.ts";
import { SimServer } from "./server.ts";
import { BEGIN_MS, type Trace, type Violation, World } from "./world.ts";

/** How long a fleet that is left in peace may take until everything is where it belongs. */
const QUIET_MS_MAX = 600_000;
const LOOK_EVERY_MS = 5_000;

/** What one seed came to. */
export interface Outcome {
  readonly seed: number;
  readonly digest: string;
  readonly lines: number;
  readonly violation: Violation | undefined;
  readonly plan: Plan;
  readonly rows: number;
  /** Rows that gave way and left figures. */
  readonly downsampled: number;
  readonly virtualMs: number;
}

let template: Buffer | undefined;

/** A migrated store that knows some devices; made once, for migrations take longer than many a seed. */
function storeTemplate(dir: string, names: readonly string[]): Buffer {
  if (template !== undefined) return template;
  const folder = join(dir, "template");
  mkdirSync(folder);
  const { db, release } = unwrap(openWriter(join(folder, "fleet.sqlite")));
  const token = {
    id: "t",
    site: SITE,
    labels: {},
    serials: null,
    preapproved: true,
    usesLeft: names.length,
    expiresAtMs: BEGIN_MS + 1,
    createdAtMs: BEGIN_MS,
    createdBy: "sim",
    revoked: false,
  };
  COMMANDS.devices.addEnrolmentToken.run(db, { hash: "h", token });
  for (const device of names) {
    const asked = { hash: "h", device, serial: null, publicHex: device, nowMs: BEGIN_MS, reference: "" };
    unwrap(COMMANDS.devices.enrol.run(db, asked));
  }
  template = db.serialize();
  db.close();
  release();
  rmSync(folder, { recursive: true });
  return template;
}

const NAMES = ["dev-1", "dev-2", "dev-3", "dev-4"];

/** A fleet in its world. */
export class Fleet {
  readonly world: World;
  readonly plan: Plan;
  readonly network: Network;
  readonly repository: ImageRepository;
  readonly server: SimServer;
  readonly devices: readonly SimDevice[];

  constructor(seed: number, trace: Trace, dir: string) {
    this.world = new World(seed, trace);
    this.plan = planOf(this.world.chance("plan"));
    this.network = new Network(this.world);
    this.repository = new ImageRepository(this.world.chance("models"));
    this.repository.release(1);
    const serverDisk = new SimDisk(join(dir, "server"));
    this.server = new SimServer(this.world, this.network, serverDisk, this.repository, storeTemplate(dir, NAMES));
    this.devices = NAMES.slice(0, this.plan.devices).map(
      (name) =>
        new SimDevice(this.world, this.network, new SimDisk(join(dir, name)), this.repository, {
          name,
          ...this.plan.device,
        }),
    );
  }

  close(): void {
    this.server.disk.remove();
    for (const { disk } of this.devices) disk.remove();
  }

  /** Something asked of the server from outside, answered at the world's own pace. */
  ask(work: () => Promise<void>): void {
    if (!this.server.running) return;
    work().catch((cause: Error) => {
      // A store that fails says so to whoever asks, too.
      if (/disk/.test(cause.message)) this.world.say("world", `not answered: ${cause.message}`);
      else this.world.broken(0, `the checker failed: ${cause.stack}`);
    });
  }

  /** Nothing that was produced is anywhere but in the store. */
  isQuiet(): boolean {
    return this.devices.every(({ agent, truth, replays }) => {
      if (agent === undefined || agent.link.phase !== "online") return false;
      const { unacked, pending } = agent.outbox.stats();
      const untaken = replays && [...truth.rows.values()].some((rows) => rows.at(-1)?.taken === false);
      return unacked === 0 && pending === 0 && !untaken && agent.link.figures().reportedEchoed;
    });
  }
}

/** Runs one seed: faults first, then peace until everything is quiet, then every promise is judged. */
export async function simulate(seed: number, trace: Trace): Promise<Outcome> {
  const dir = memoryFolder();
  const fleet = new Fleet(seed, trace, dir);
  const { world, plan, server, network, devices } = fleet;
  try {
    schedule(fleet);
    const allowed: Allowed = { gaps: plan.gaps, twice: plan.twice };
    const newest = new Newest(fleet);
    const look = () => {
      world.at(LOOK_EVERY_MS, () => {
        look();
        fleet.ask(() => checkPresence(world, server.store, network, devices, server.nowMs()));
        newest.look();
      });
    };
    look();
    await world.runUntil(plan.faultsMs);
    await becomeQuiet(fleet);
    let judged = false;
    let downsampled = 0;
    const judge = async () => {
      for (const device of devices) {
        await checkLetters(world, server.store, device.name, server.nowMs(), allowed);
        await checkTelemetry(world, server.store, device, allowed);
        await checkPredictions(world, server.store, device, allowed);
      }
      downsampled = await checkFigures(world, server.store, devices);
      await checkReads(world, server.store, devices);
      judged = true;
    };
    if (world.violations.length === 0) fleet.ask(judge);
    await world.runUntil(world.nowMs + 60_000);
    if (!judged && world.violations.length === 0) world.broken(0, "the checkers did not come to an end");
    const rows = devices.reduce(
      (sum, { truth }) => sum + [...truth.rows.values()].reduce((count, own) => count + own.length, 0),
      0,
    );
    const [violation] = world.violations;
    const { lines } = trace;
    return { seed, digest: trace.digest(), lines, violation, plan, rows, downsampled, virtualMs: world.nowMs };
  } finally {
    fleet.close();
    rmSync(dir, { recursive: true, force: true });
  }
}

async function becomeQuiet(fleet: Fleet): Promise<void> {
  const { world, devices } = fleet;
  if (world.violations.length > 0) return;
  world.say("world", "peace");
  for (const device of devices) device.sensing = false;
  const untilMs = world.nowMs + QUIET_MS_MAX;
  while (world.violations.length === 0) {
    await world.runUntil(world.nowMs + 2_000);
    if (fleet.isQuiet()) return;
    if (world.nowMs < untilMs) continue;
    const noisy = devices.map(
      ({ name, agent }) =>
        `${name}: ${agent?.link.phase} ${agent?.outbox.stats().unacked} ${agent?.outbox.stats().pending} ${JSON.stringify(agent?.link.figures())}`,
    );
    return world.broken(1, `after ${QUIET_MS_MAX / 1_000} s of peace something is still on its way: ${noisy}`);
  }
}
