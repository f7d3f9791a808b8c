import type { DeviceOptions, SimDevice } from "./device.ts";
import type { Fleet } from "./fleet.ts";
import { replayOne } from "./letters.ts";
import type { LineMode } from "./network.ts";
import { Operator } from "./operator.ts";
import type { Chance } from "./world.ts";

/** What a seed makes of a fleet, and how hard it is on it. Everything is drawn before the world begins. */
export interface Plan {
  readonly devices: number;
  readonly device: Omit<DeviceOptions, "name">;
  /** How long things go wrong. */
  readonly faultsMs: number;
  /** How a line fails, and how long at least and at most. */
  readonly outages: readonly LineMode[];
  readonly outageMs: readonly [number, number];
  /** Mean time between two faults of each kind; infinite where this seed has none. */
  readonly lineMs: number;
  readonly agentMs: number;
  readonly serverMs: number;
  readonly diskMs: number;
  readonly clockMs: number;
  readonly restoreMs: number;
  readonly corruptMs: number;
  /** How bad the lines are, from 0 to 1. */
  readonly noise: number;
  /** Mean time between two things people do at the server; infinite where nobody rolls anything out. */
  readonly operatorMs: number;
  /** Mean time between two stretches without any row. */
  readonly stillMs: number;
  /** Probabilities: an agent dies at a write of an update; a download arrives wrong; its file rots unseen. */
  readonly deaths: number;
  readonly spoilt: number;
  readonly rots: number;
  /** Probabilities: the server dies right after a commit; a message arrives without its end. */
  readonly serverDeaths: number;
  readonly cutShort: number;
  /** The server has a fault at first, for which messages become dead letters. */
  readonly faulty: boolean;
  /** Records may give way, or be numbered anew, under these faults. */
  readonly gaps: boolean;
  readonly twice: boolean;
}

const NEVER = Number.POSITIVE_INFINITY;
/** The least budget there is. */
const TIGHT_BYTES = 1_048_576;

/** Draws a plan: each kind of fault is there in some seeds only, so that each also shows alone. */
export function planOf(chance: Chance): Plan {
  const some = (probability: number, lowMs: number, highMs: number) =>
    chance.happens(probability) ? chance.between(lowMs, highMs) : NEVER;
  const rollsOut = chance.happens(0.45);
  const tight = !rollsOut && chance.happens(0.2);
  const corruptMs = some(0.08, 30_000, 60_000);
  const diskMs = some(0.2, 12_000, 40_000);
  const restoreMs = some(0.2, 25_000, 60_000);
  const clockMs = some(0.3, 12_000, 40_000);
  const keepAckedMs = chance.one([0, 3_600_000, 3_600_000]);
  const drawn = {
    devices: chance.one([1, 1, 2, 2, 3]),
    device: {
      assets: chance.happens(0.5) ? ["pump-1"] : ["pump-1", "pump-2"],
      replays: chance.happens(0.6),
      periodMs: chance.between(600, rollsOut ? 1_500 : tight ? 1_000 : 4_000),
      rowsAtOnce: 1,
      channels: 0,
      events: tight ? 14 : 0,
      heartbeatMs: 6_000,
      buffer: {
        maxBytes: tight ? TIGHT_BYTES : 8_000_000,
        maxAgeMs: NEVER,
        commitMs: chance.one([500, 1_000, 3_000]),
        joinMs: chance.one([0, 2_000, 10_000]),
        keepAckedMs,
        backfillBytesPerSecond: 1_048_576,
      },
      clockSynced: chance.happens(0.5),
    },
    faultsMs: rollsOut ? chance.between(60_000, 110_000) : chance.between(30_000, 80_000),
    outages: ["cut", "silent"] as const,
    outageMs: [200, tight ? 60_000 : 20_000] as const,
    lineMs: some(tight ? 1 : 0.7, 6_000, tight ? 12_000 : 30_000),
    agentMs: some(0.6, 8_000, 40_000),
    serverMs: some(0.6, 12_000, 40_000),
    diskMs,
    clockMs,
    restoreMs,
    corruptMs,
    operatorMs: rollsOut ? chance.between(10_000, 30_000) : NEVER,
    stillMs: some(0.3, 15_000, 40_000),
    deaths: chance.happens(0.4) ? chance.between(0, 0.06) : 0,
    spoilt: chance.happens(0.3) ? chance.between(0, 0.15) : 0,
    rots: chance.happens(0.3) ? chance.between(0, 0.15) : 0,
    noise: chance.happens(0.6) ? chance.next() : 0,
    // A clock that jumps ahead ends the time for which acknowledged batches are kept.
    gaps:
      tight ||
      corruptMs !== NEVER ||
      diskMs !== NEVER ||
      (restoreMs !== NEVER && (keepAckedMs === 0 || clockMs !== NEVER)),
    twice: corruptMs !== NEVER,
  };
  const maxAgeMs = some(0.12, 8_000, 30_000);
  const backfillBytesPerSecond = tight ? 1_048_576 : chance.one([4_096, 20_000, 1_048_576]);
  const buffer = { ...drawn.device.buffer, maxAgeMs, backfillBytesPerSecond };
  const usual = { ...drawn, device: { ...drawn.device, buffer }, gaps: drawn.gaps || maxAgeMs !== NEVER };
  const floods = !rollsOut && !tight && chance.happens(0.2);
  const plan = { ...usual, ...mishapsOf(chance) };
  if (floods) return floodOf(plan, chance);
  return !rollsOut && !tight && chance.happens(0.15) ? burstOf(plan, chance) : plan;
}

/** What goes wrong with single messages and commits. */
function mishapsOf(chance: Chance): Pick<Plan, "serverDeaths" | "cutShort" | "faulty"> {
  return {
    serverDeaths: chance.happens(0.15) ? chance.between(0, 0.02) : 0,
    cutShort: chance.happens(0.15) ? chance.between(0, 0.05) : 0,
    faulty: chance.happens(0.15),
  };
}

/**
 * The plan with a short message of every few rows, at once: what lines that fall silent hold back of them comes together, as
 * many as make a group that waits at the server.
 */
function burstOf(plan: Plan, chance: Chance): Plan {
  return {
    ...plan,
    devices: chance.whole(1, 2),
    device: {
      ...plan.device,
      assets: ["pump-1"],
      periodMs: chance.between(35, 55),
      buffer: { ...plan.device.buffer, commitMs: 10, joinMs: 0 },
    },
    faultsMs: chance.between(25_000, 40_000),
    // Longer, and the devices send again what nobody has acknowledged: then it is not plain any more.
    outages: ["silent"],
    outageMs: [4_000, 9_000],
    lineMs: chance.between(6_000, 10_000),
    stillMs: NEVER,
    serverDeaths: chance.between(0, 0.004),
    noise: chance.happens(0.3) ? plan.noise : 0,
  };
}

/** The plan with so many rows and channels that telemetry itself fills the disk, and leaves figures where it gives way. */
function floodOf(plan: Plan, chance: Chance): Plan {
  return {
    ...plan,
    devices: 1,
    device: {
      ...plan.device,
      periodMs: chance.between(700, 1_200),
      rowsAtOnce: chance.whole(35, 50),
      channels: 240,
      buffer: { ...plan.device.buffer, maxBytes: TIGHT_BYTES, backfillBytesPerSecond: TIGHT_BYTES },
    },
    faultsMs: chance.between(80_000, 120_000),
    outageMs: [30_000, 60_000],
    lineMs: chance.between(15_000, 30_000),
    gaps: true,
  };
}

/** Puts the plan's faults, and their ends, into the world. */
export function schedule(fleet: Fleet): void {
  const { world, plan, server, devices, network } = fleet;
  const chance = world.chance("faults");
  server.faulty = plan.faulty;
  server.deaths = plan.serverDeaths;
  server.start();
  for (const device of devices) {
    const line = network.line(device.name);
    line.latencyMs = chance.between(2, 200);
    line.dropUp = 0.05 * plan.noise * chance.next();
    line.dropDown = 0.1 * plan.noise * chance.next();
    line.twice = 0.2 * plan.noise * chance.next();
    line.late = 0.3 * plan.noise * chance.next();
    line.cutShort = plan.cutShort;
    device.deaths = plan.deaths;
    device.spoilt = plan.spoilt;
    device.rots = plan.rots;
    world.at(chance.between(0, 3_000), () => device.start());
  }
  const again = (meanMs: number, happen: () => void) => {
    if (meanMs === NEVER) return;
    const delayMs = -Math.log(1 - chance.next()) * meanMs;
    world.at(delayMs, () => {
      if (world.nowMs >= plan.faultsMs) return;
      happen();
      again(meanMs, happen);
    });
  };
  const one = () => chance.one(devices);
  again(plan.lineMs, () => {
    const { name } = one();
    network.setMode(name, chance.one(plan.outages));
    world.at(chance.between(...plan.outageMs), () => network.setMode(name, "up"));
  });
  again(plan.agentMs, () => one().kill(chance.one(["killed", "powerCut"] as const), chance.between(100, 10_000)));
  again(plan.serverMs, () => {
    server.kill(chance.one(["killed", "powerCut"] as const));
    world.at(chance.between(200, 15_000), () => server.start());
  });
  again(plan.diskMs, () => spoilDisk(fleet, chance, one()));
  again(plan.clockMs, () => {
    const device = one();
    device.offsetMs += chance.between(-400, 400) * 86_400_000 * chance.one([1, 1e-4, 1e-6]);
    world.say(device.name, `clock jumps to ${Math.round(device.offsetMs / 1_000)} s off`);
  });
  if (plan.restoreMs !== NEVER) world.at(plan.faultsMs * chance.between(0.1, 0.5), () => server.backUp());
  again(plan.restoreMs, () => {
    server.kill("killed");
    server.restore();
    world.at(chance.between(200, 10_000), () => server.start());
  });
  again(plan.corruptMs, () => {
    const device = one();
    device.kill("killed", 2_000);
    world.at(1_000, () => device.corruptOutbox());
  });
  again(plan.stillMs, () => {
    const device = one();
    device.sensing = false;
    world.say(device.name, "stands still");
    world.at(chance.between(3_000, 30_000), () => {
      device.sensing = world.nowMs < plan.faultsMs;
    });
  });
  if (plan.operatorMs !== NEVER) {
    const operator = new Operator(fleet);
    world.at(4_000, () => operator.begin());
    world.at(18_000, () => again(plan.operatorMs, () => operator.act()));
  }
  if (plan.faulty) world.at(plan.faultsMs * chance.between(0.3, 0.9), () => server.upgrade());
  const letters = world.chance("letters");
  if (plan.faulty || plan.cutShort > 0) again(10_000, () => replayOne(fleet, letters));
  // Peace: whatever is broken is mended, and nothing new breaks.
  world.at(plan.faultsMs, () => heal(fleet));
}

function spoilDisk({ world, server }: Fleet, chance: Chance, device: SimDevice): void {
  const disk = chance.happens(0.5) ? server.disk : device.disk;
  const who = disk === server.disk ? "server" : device.name;
  if (chance.happens(0.3)) {
    world.say(who, "disk full");
    disk.full = true;
    world.at(chance.between(1_000, 20_000), () => {
      world.say(who, "disk has room again");
      disk.full = false;
    });
    return;
  }
  disk.fault = disk === server.disk ? "refused" : chance.one(["refused", "reportedFailed"] as const);
  world.say(who, `disk fault: ${disk.fault}`);
  world.at(chance.between(500, 8_000), () => {
    disk.fault = "none";
  });
}

function heal({ world, server, devices, network }: Fleet): void {
  server.disk.fault = "none";
  server.disk.full = false;
  server.deaths = 0;
  server.upgrade();
  for (const device of devices) {
    const line = network.line(device.name);
    Object.assign(line, { dropUp: 0, dropDown: 0, twice: 0, late: 0, cutShort: 0 });
    network.setMode(device.name, "up");
    device.disk.fault = "none";
    device.disk.full = false;
    device.deaths = 0;
    device.spoilt = 0;
    device.rots = 0;
    world.at(15_000, () => device.start());
  }
  server.start();
}
