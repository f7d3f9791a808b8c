import { PRESENCE_RULE, type PresenceRule, presenceOf } from "../../fleet-server/src/devices/presence.ts";
import type { Store } from "../../fleet-server/src/store/store.ts";
import { valuesOf } from "./agent.ts";
import type { SimDevice } from "./device.ts";
import type { Network } from "./network.ts";
import { scoreOf } from "./runtime.ts";
import type { TrueRow } from "./truth.ts";
import { BEGIN_MS, type World } from "./world.ts";

/** What a fleet's faults allow: without any of them nothing is missing and nothing comes twice. */
export interface Allowed {
  /** Records may give way, each leaving its counted gap. */
  readonly gaps: boolean;
  /** Records may be numbered anew after the server had them: a file of the outbox was lost. */
  readonly twice: boolean;
}

/** Promises 1 and 2: what is stored is what was produced, once and in order, and every hole is told. */
export async function checkTelemetry(world: World, store: Store, device: SimDevice, allowed: Allowed): Promise<void> {
  const { rows } = await store.ingest.rows({ device: device.name, batches: 1_000_000 });
  const gaps = (await store.ingest.gaps({ device: device.name, limit: 1_000_000 })).filter(
    ({ stream }) => stream === "telemetry",
  );
  checkNumbers(world, device.name, rows, gaps);
  const stored = new Map<string, number>();
  const last = new Map<string, number>();
  for (const { asset, epoch, seq, observedAtMs, values } of rows) {
    const n = Math.round((values["x"] ?? Number.NaN) * 8);
    const row = device.truth.rowsOf(asset)[n - 1];
    const where = `${device.name} ${asset} epoch ${epoch} seq ${seq}`;
    const given = valuesOf(n, device.channels);
    const same = Object.entries(given).every(([channel, value]) => values[channel] === value);
    if (row?.observedAtMs !== observedAtMs || !same) {
      return world.broken(1, `${where} is stored as no sensor gave it: ${JSON.stringify(values)}`);
    }
    // A cursor that rotted sends its input back to where it began.
    if (n <= (last.get(`${asset}/${epoch}`) ?? 0) && !row.doubtful)
      return world.broken(2, `${where} holds row ${n} after a later one`);
    last.set(`${asset}/${epoch}`, n);
    const times = (stored.get(`${asset}/${n}`) ?? 0) + 1;
    stored.set(`${asset}/${n}`, times);
    if (times > 1 && !allowed.twice) return world.broken(2, `${where} holds row ${n} a second time`);
  }
  checkNothingMissing(world, device, stored, gaps, allowed);
}

interface Numbered {
  readonly epoch: number;
  readonly seq: number;
}

interface Gap {
  readonly epoch: number;
  readonly fromSeq: number;
  readonly toSeq: number;
  readonly reason: string;
}

/** Every seq of an epoch names one row or lies in one gap, from 1 on; what an epoch before lacks was numbered anew. */
function checkNumbers(world: World, device: string, rows: readonly Numbered[], gaps: readonly Gap[]): void {
  const ranges = [
    ...rows.map(({ epoch, seq }) => ({ epoch, fromSeq: seq, toSeq: seq })),
    ...gaps.map(({ epoch, fromSeq, toSeq }) => ({ epoch, fromSeq, toSeq })),
  ].sort((a, b) => a.epoch - b.epoch || a.fromSeq - b.fromSeq);
  const newest = ranges.at(-1)?.epoch;
  let at = { epoch: 0, toSeq: 0 };
  for (const { epoch, fromSeq, toSeq } of ranges) {
    const expected = epoch === at.epoch ? at.toSeq + 1 : 1;
    if (fromSeq < expected) world.broken(2, `${device} epoch ${epoch} seq ${fromSeq} is there twice`);
    if (fromSeq > expected && epoch === newest) {
      world.broken(1, `${device} epoch ${epoch} lacks seq ${expected} to ${fromSeq - 1}`);
    }
    at = { epoch, toSeq };
  }
}

function checkNothingMissing(
  world: World,
  device: SimDevice,
  stored: ReadonlyMap<string, number>,
  gaps: readonly Gap[],
  allowed: Allowed,
): void {
  const missing = [...device.truth.rows.values()].flat().filter((row) => {
    // A live sensor's row that was never taken may or may not be there.
    return !row.doubtful && (row.taken || device.replays) && !stored.has(`${row.asset}/${row.n}`);
  });
  const told = gaps.reduce((sum, { fromSeq, toSeq }) => sum + toSeq - fromSeq + 1, 0);
  if (missing.length > told) {
    const [first] = missing as [TrueRow];
    world.broken(
      1,
      `${device.name} lacks ${missing.length} rows, ${told} of them told: ${first.asset} ${first.n} first`,
    );
  }
  if (gaps.length > 0 && !allowed.gaps) {
    world.broken(1, `${device.name} gave ${told} records away without need: ${gaps[0]?.reason}`);
  }
  if (told > missing.length && device.replays && !allowed.twice) {
    world.broken(7, `${device.name} tells of ${told} lost rows, and lacks ${missing.length}`);
  }
}

const DAY_MS = 86_400_000;
/** How far clocks may have jumped, all jumps together. */
const DAYS_AROUND = 8_000;

/**
 * Promise 2: what is left of downsampled rows counts each of them once. Answers how many there were. A simulated server makes no
 * figures of rows: all it has came in gaps.
 */
export async function checkFigures(world: World, store: Store, devices: readonly SimDevice[]): Promise<number> {
  let told = 0;
  for (const { name } of devices) {
    for (const { stream, reason, fromSeq, toSeq } of await store.ingest.gaps({ device: name, limit: 1_000_000 })) {
      if (stream === "telemetry" && reason === "downsampled") told += toSeq - fromSeq + 1;
    }
  }
  const middleMs = Math.floor(BEGIN_MS / DAY_MS) * DAY_MS;
  const { items } = await store.series.points({
    channels: ["x"],
    fromMs: middleMs - DAYS_AROUND * DAY_MS,
    toMs: middleMs + DAYS_AROUND * DAY_MS,
    stepMs: DAY_MS,
    limit: 100,
  });
  const counted = items.flatMap(({ points }) => points.count).reduce((sum, count) => sum + count, 0);
  if (counted !== told) world.broken(2, `figures count ${counted} rows, of ${told} that were downsampled`);
  return told;
}

/** Promises 2 and 9: every prediction names a released version that served then, and is what that version says of its row. */
export async function checkPredictions(world: World, store: Store, device: SimDevice, allowed: Allowed): Promise<void> {
  const found = await store.ingest.predictions({ order: "seq", device: device.name, limit: 1_000_000 });
  const seen = new Set<string>();
  for (const { record, epoch, seq } of found) {
    const { asset, digest, version, value, error, outputs } = record;
    const n = Number(outputs?.["n"]);
    const where = `${device.name} prediction ${epoch}/${seq} of ${asset} row ${n}`;
    const known = device.repository.byDigest(digest);
    const ran = device.truth.served.some((one) => one.digest === digest);
    if (known === undefined || known.version !== version || !ran || !device.repository.everReleased.has(digest)) {
      return world.broken(9, `${where} names version ${version}, which never served here`);
    }
    if (error === undefined && value !== scoreOf(known, n)) return world.broken(9, `${where} is not what it says`);
    const key = `${asset}/${n}`;
    if (seen.has(key) && !allowed.twice) return world.broken(2, `${where} is there twice`);
    seen.add(key);
  }
}

/** Promise 10: what is shown of a device is no younger than what was heard of it. */
export async function checkPresence(
  world: World,
  store: Store,
  network: Network,
  devices: readonly SimDevice[],
  nowMs: number,
) {
  const rule: PresenceRule = PRESENCE_RULE;
  for (const { name, heartbeatMs } of devices) {
    const record = await store.devices.get({ device: name });
    if (record === undefined) continue;
    const { presence } = presenceOf(record, nowMs, rule);
    // Until the server has read what a device says its heartbeat is.
    const beatMs = record.heartbeatMs === null ? rule.defaultHeartbeatMs : heartbeatMs;
    const heardAtMs = network.heardAtMs.get(name);
    const silentMs = heardAtMs === undefined ? Number.POSITIVE_INFINITY : world.nowMs - heardAtMs;
    // The store learns of a word within a second; reading it takes a moment.
    const slackMs = 2_000;
    if (presence === "online" && silentMs > rule.lateAfterHeartbeats * beatMs + slackMs) {
      world.broken(10, `${name} is shown online after ${Math.round(silentMs / 1_000)} s of silence`);
    }
    if (presence === "late" && silentMs > rule.offlineAfterHeartbeats * beatMs + slackMs) {
      world.broken(10, `${name} is shown late after ${Math.round(silentMs / 1_000)} s of silence`);
    }
  }
}
