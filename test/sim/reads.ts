import { isDeepStrictEqual } from "node:util";
import { ALERT_RAISED } from "@bellwether/protocol/messages/stream.ts";
import type { Latest, LatestOfAsset, StoredEvent, StoredGap, StoredRow } from "../../fleet-server/src/store/ingest.ts";
import type { Store } from "../../fleet-server/src/store/store.ts";
import type { SimDevice } from "./device.ts";
import type { Fleet } from "./fleet.ts";
import { SITE } from "./network.ts";
import type { World } from "./world.ts";

/** Batches, gaps and events of one page: few, so that there are several pages. */
const PAGE = 7;
/** A group that waits to be written is not seen for so long, and a read takes a moment. */
const UNSEEN_MS = 1_000;
const ALL = 1_000_000;

/** The number of a row: what its channel x holds counts the rows of its asset. */
function numberOf(values: Readonly<Record<string, number | null>>): number {
  return Math.round((values["x"] ?? Number.NaN) * 8);
}

/** The newest values as a console shows them again and again while things go wrong. */
export class Newest {
  readonly #fleet: Fleet;

  constructor(fleet: Fleet) {
    this.#fleet = fleet;
  }

  /** Promise 1: what is shown of an asset is no older than what its device was told is stored. */
  look(): void {
    const { world, server } = this.#fleet;
    const { restored } = server;
    const acknowledged = this.#acknowledged();
    world.at(UNSEEN_MS, () =>
      this.#fleet.ask(async () => {
        const shown = await server.store.ingest.latest({ sites: [SITE] });
        this.#judge(shown, server.restored === restored ? acknowledged : new Map());
      }),
    );
  }

  /** By asset the last row of devices that have no other speak of it, and hold nothing that is still on its way. */
  #acknowledged(): Map<string, number> {
    const { devices, plan } = this.#fleet;
    const [device] = devices;
    const stats = device?.agent?.outbox.stats();
    // What gave way, or two devices that speak of one asset, say nothing of what is the newest.
    if (devices.length !== 1 || stats === undefined || plan.gaps || plan.twice) return new Map();
    if (stats.unacked > 0 || stats.pending > 0) return new Map();
    const rows = [...(device?.truth.rows.entries() ?? [])];
    return new Map(rows.map(([asset, own]) => [asset, own.findLast(({ taken }) => taken)?.n ?? 0]));
  }

  #judge(shown: readonly LatestOfAsset[], acknowledged: ReadonlyMap<string, number>): void {
    const { world, devices } = this.#fleet;
    for (const { asset, row } of shown) {
      if (row !== undefined) checkGiven(world, devices, asset, row);
    }
    for (const [asset, n] of acknowledged) {
      const found = shown.find((one) => one.asset === asset)?.row;
      const newest = found === undefined ? 0 : numberOf(found.record.values);
      if (newest < n) world.broken(1, `${asset} is shown with row ${newest}, and row ${n} was acknowledged before`);
    }
  }
}

/** What is shown of an asset is a row that its sensor gave. */
function checkGiven(
  world: World,
  devices: readonly SimDevice[],
  asset: string,
  { device, record }: Latest<{ readonly observedAtMs: number; readonly values: StoredRow["values"] }>,
): void {
  const n = numberOf(record.values);
  const given = devices.find(({ name }) => name === device)?.truth.rowsOf(asset)[n - 1];
  if (given?.observedAtMs !== record.observedAtMs)
    world.broken(1, `${asset} is shown with row ${n} of ${device}, as no sensor gave it`);
}

/** Promises 1 and 2: whoever reads page by page, or asks for a part, gets what whoever reads everything does. */
export async function checkReads(world: World, store: Store, devices: readonly SimDevice[]): Promise<void> {
  const shown = await store.ingest.latest({});
  const { deadLetters, gapRecords } = await store.ingest.counts({});
  const gaps = await store.ingest.gaps({ limit: ALL });
  const told = gaps.reduce((sum, { fromSeq, toSeq }) => sum + toSeq - fromSeq + 1, 0);
  if (told !== gapRecords) world.broken(1, `${gapRecords} records are told to be missing, and the gaps count ${told}`);
  const letters = await store.ingest.deadLetters({ sites: [SITE], limit: ALL });
  if (letters.length !== deadLetters) world.broken(1, `${deadLetters} dead letters are counted, of ${letters.length}`);
  if (!isDeepStrictEqual(await gapsByPages(store), gaps)) world.broken(1, "gaps read by pages are others");
  for (const { name } of devices) {
    const { rows } = await store.ingest.rows({ device: name, batches: ALL });
    await checkRowReads(world, store, name, rows);
    if (devices.length === 1) checkNewest(world, shown, rows);
  }
  for (const { asset, row } of shown) if (row !== undefined) checkGiven(world, devices, asset, row);
  await checkAlarms(world, store, devices);
}

async function gapsByPages(store: Store): Promise<StoredGap[]> {
  const found: StoredGap[] = [];
  for (;;) {
    const after = found.at(-1);
    const page = await store.ingest.gaps({ sites: [SITE], limit: PAGE, ...(after ? { after } : {}) });
    found.push(...page);
    if (page.length < PAGE) return found;
  }
}

async function checkRowReads(world: World, store: Store, device: string, rows: readonly StoredRow[]): Promise<void> {
  const paged: StoredRow[] = [];
  for (let after: readonly [string, number, number] | undefined; ; ) {
    const page = await store.ingest.rows({ device, channels: ["x"], batches: PAGE, ...(after ? { after } : {}) });
    paged.push(...page.rows);
    after = page.next;
    if (after === undefined) break;
  }
  const onlyX = rows.map((row) => ({ ...row, values: { x: row.values["x"] } }));
  if (!isDeepStrictEqual(paged, onlyX)) world.broken(2, `rows of ${device} read by pages are others`);
  const middle = rows[Math.floor(rows.length / 2)];
  if (middle === undefined) return;
  const { asset, observedAtMs: toMs } = middle;
  const fromMs = toMs - 10_000;
  const part = await store.ingest.rows({ device, assets: [asset], fromMs, toMs, sites: [SITE], batches: ALL });
  const wanted = rows.filter((row) => row.asset === asset && row.observedAtMs >= fromMs && row.observedAtMs < toMs);
  if (!isDeepStrictEqual(part.rows, wanted)) world.broken(1, `rows of ${asset} in ten seconds are others`);
}

/** What is shown of an asset is the last row that is stored of it. */
function checkNewest(world: World, shown: readonly LatestOfAsset[], rows: readonly StoredRow[]): void {
  const last = new Map(rows.map((row) => [row.asset, row]));
  for (const [asset, { epoch, seq, values }] of last) {
    const found = shown.find((one) => one.asset === asset)?.row?.record.values;
    if (!isDeepStrictEqual(found, values))
      world.broken(1, `${asset} is not shown with the newest row, epoch ${epoch} seq ${seq}`);
  }
}

/** Alarms stand where the newest word of an asset's only device says that they do. */
async function checkAlarms(world: World, store: Store, devices: readonly SimDevice[]): Promise<void> {
  const events: StoredEvent[] = [];
  for (;;) {
    const page = await store.ingest.events({ sites: [SITE], afterId: events.at(-1)?.id ?? 0, limit: PAGE * PAGE });
    events.push(...page);
    if (page.length < PAGE * PAGE) break;
  }
  const standing = (await store.ingest.alarms({ sites: [SITE] })).map(({ asset }) => asset);
  if (devices.length !== 1) return;
  const last = new Map<string, string>();
  for (const { record } of events.sort((a, b) => a.epoch - b.epoch || a.seq - b.seq)) {
    if (record.kind === "alert" && record.asset !== undefined) last.set(record.asset, record.code);
  }
  const wanted = [...last].filter(([, code]) => code === ALERT_RAISED).map(([asset]) => asset);
  if (!isDeepStrictEqual(standing, wanted.sort()))
    world.broken(1, `alarms stand for ${standing.join(", ")}, and should for ${wanted.join(", ")}`);
}
