import { bindChannels, type ChannelSource } from "@bellwether/protocol/features/asset.ts";
import { err, ok, type Result } from "@bellwether/protocol/result.ts";
import { failuresKnownAt } from "../outcomes/outcomes.ts";
import type { Store } from "../store/store.ts";
import type { HistoryRecord } from "../store/training.ts";
import { FleetHistory } from "./fleet-history.ts";
import { historyFiles } from "./history/files.io.ts";
import type { HistoryReport } from "./history/report.ts";
import type { FleetRequest } from "./history/request.ts";
import { encodeSnapshot, type HistorySnapshot } from "./history/snapshot.ts";

export interface FleetSnapshotsPorts {
  readonly store: Pick<Store, "devices" | "ingest" | "outcomes" | "registry" | "training">;
  /** Folder of the history files, and the bound of all of them. */
  readonly dir: string;
  readonly bytesMax: number;
  /** Active devices that a selector selects. */
  matching(selector: string): Promise<Result<readonly string[]>>;
  now(): number;
}

/** What a snapshot is asked for. */
export interface SnapshotRequest {
  readonly cohort: string;
  /** The model it is for: its channels are taken, in its units. */
  readonly model: string;
  /** Version or alias; the newest without it. */
  readonly version?: string;
  readonly cutOffMs?: number;
  readonly knownAtMs?: number;
  readonly label?: string;
  /** Channels to take beside those the model needs, where assets have them. */
  readonly channels?: readonly { readonly channel: string; readonly unit: string }[];
}

/** Histories of the fleet's own committed samples and outcomes: immutable, named by their content. */
export interface FleetSnapshots {
  /** Makes and keeps one; made again from the same, it is the same. Refused ones leave nothing behind. */
  create(request: SnapshotRequest, by: string): Promise<Result<HistoryRecord>>;
}

type Fleet = FleetRequest["fleet"];

/** The source of a channel that an asset does not have: always missing. */
const NOTHING: ChannelSource = { channel: "", conversion: { same: true, scale: 1, offset: 0 } };
const BATCHES_AT_ONCE = 50;
const OUTCOMES_MAX = 1_000_000;

export function createFleetSnapshots(ports: FleetSnapshotsPorts): FleetSnapshots {
  const { store } = ports;
  const files = historyFiles(ports.dir, ports.bytesMax);

  async function fleetOf(request: SnapshotRequest): Promise<Result<Fleet & { readonly needed: number }>> {
    const { cohort, model } = request;
    const nowMs = ports.now();
    const { cutOffMs = nowMs, knownAtMs = nowMs } = request;
    for (const [what, atMs] of [["cut-off", cutOffMs] as const, ["time of what is known", knownAtMs] as const]) {
      if (atMs > nowMs) return err("SNAPSHOT_IN_FUTURE", { what, at: new Date(atMs).toISOString() });
    }
    const found = (await store.devices.listCohorts({})).find((one) => one.cohort === cohort);
    if (found === undefined) return err("NOT_FOUND", { what: "cohort", name: cohort });
    const devices = await ports.matching(found.selector);
    if (!devices.ok) return devices;
    const version =
      request.version === undefined
        ? (await store.registry.versions({ model, limit: 1 }))[0]
        : await store.registry.find({ model, reference: request.version });
    if (version === undefined)
      return err("NOT_FOUND", { what: "model version", name: `${model} ${request.version ?? ""}` });
    const needed = version.manifest.channels.map(({ channel, unit }) => ({ channel, unit }));
    const names = new Set(needed.map(({ channel }) => channel));
    const channels = [...needed, ...(request.channels ?? []).filter(({ channel }) => !names.has(channel))];
    const { selector } = found;
    const fleet = { cohort, selector, devices: [...devices.value].toSorted(), model, channels, cutOffMs, knownAtMs };
    return ok({ ...fleet, needed: needed.length });
  }

  /** Where the fleet's channels come from, by asset of a device; assets that lack some are none of this model's. */
  async function sourcesOf(device: string, channels: Fleet["channels"], needed: number) {
    const sources = new Map<string, ChannelSource[]>();
    for (const birth of await store.devices.births({ device })) {
      const offered = new Map(birth.channels.map(({ channel, unit }) => [channel, unit]));
      const bound = bindChannels(channels.slice(0, needed), offered);
      if (!bound.ok) continue;
      const others = channels.slice(needed).map((one) => bindChannels([one], offered));
      sources.set(birth.asset, [...bound.value, ...others.map((one) => (one.ok ? one.value[0]! : NOTHING))]);
    }
    return sources;
  }

  async function collect(
    fleet: Fleet,
    needed: number,
  ): Promise<Result<{ snapshot: HistorySnapshot; report: HistoryReport }>> {
    const history = new FleetHistory(fleet);
    for (const device of fleet.devices) {
      const sources = await sourcesOf(device, fleet.channels, needed);
      for (let after: readonly [string, number, number] | undefined; ; ) {
        const { rows, next } = await store.ingest.rows({
          device,
          batches: BATCHES_AT_ONCE,
          ...(after ? { after } : {}),
        });
        for (const row of rows) {
          const own = sources.get(row.asset);
          const added = own === undefined ? ok(undefined) : history.add(row, own);
          if (!added.ok) return added;
        }
        if (next === undefined) break;
        after = next;
      }
    }
    const outcomes = await store.outcomes.list({ devices: fleet.devices, limit: OUTCOMES_MAX });
    return history.finish(failuresKnownAt(outcomes, fleet.knownAtMs));
  }

  return {
    async create(request, by) {
      const found = await fleetOf(request);
      if (!found.ok) return found;
      const { needed, ...fleet } = found.value;
      const collected = await collect(fleet, needed);
      if (!collected.ok) return collected;
      const written = await files.write("snapshots", encodeSnapshot(collected.value.snapshot));
      if (!written.ok) return written;
      const { label } = request;
      return store.training.addHistory({
        id: `h-${written.value.digest.slice(7, 19)}`,
        label: label ?? null,
        snapshot: written.value.digest,
        bytes: written.value.length,
        request: { fleet, ...(label === undefined ? {} : { label }) },
        report: collected.value.report,
        createdAtMs: ports.now(),
        createdBy: by,
      });
    },
  };
}
