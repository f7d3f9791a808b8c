import { err, ok, type Result } from "@bellwether/protocol/result.ts";
import type { VersionRecord } from "../store/registry.ts";
import type { Store } from "../store/store.ts";
import type { HistoryRecord } from "../store/training.ts";
import type { Lineage } from "./lineage.ts";

export interface LineagePorts {
  readonly store: Store;
  /** Who had the retraining role of a cohort release a version; undefined for one that was released for everybody. */
  releasedFor(model: string, version: number): { readonly cohort: string; readonly by: string } | undefined;
  /** Who published the owners' release of a version for everybody. */
  publishedBy(model: string, version: number): { readonly by: string; readonly atMs: number } | undefined;
}

/** Devices the caller may see; undefined: all of them. */
type Own = ReadonlySet<string> | undefined;

const ENTRIES_AT_ONCE = 1_000;

/** Follows predictions back to model, run, data and approver. */
export function createLineage({ store, releasedFor, publishedBy }: LineagePorts) {
  async function runOf(id: string | undefined, own: Own) {
    if (id === undefined) return { run: null, histories: [] as (string | null)[] };
    const training = await store.training.getRun({ id });
    if (training) {
      const { createdAtMs, createdBy, request } = training;
      return { run: { kind: "training" as const, id, createdAtMs, createdBy, request }, histories: [training.history] };
    }
    const retraining = await store.retraining.get({ id });
    if (!retraining) return { run: null, histories: [] };
    const { createdAtMs, createdBy, champion, cohort, sinceMs, cutOffMs, knownAtMs, holdoutAssets, trigger } =
      retraining;
    const base = await store.training.getRun({ id: champion.run });
    const times = { sinceMs, cutOffMs, knownAtMs };
    const request = { cohort, trigger, ...times, ...(own ? {} : { holdoutAssets }), champion, training: base?.request };
    const run = { kind: "retraining" as const, id, createdAtMs, createdBy, request };
    return { run, histories: [retraining.history, base?.history ?? null] };
  }

  async function snapshotOf(name: string | null | undefined, own: Own): Promise<Lineage["snapshots"]> {
    const history = name ? await store.training.findHistory({ name }) : undefined;
    return history ? [viewOf(history, own)] : [];
  }

  async function approverOf({ model, version, phase }: VersionRecord): Promise<Lineage["approver"]> {
    if (phase !== "released" && phase !== "withdrawn") return null;
    const retrained = releasedFor(model, version);
    const published = publishedBy(model, version);
    if (!retrained && published) return { by: published.by, atMs: published.atMs, scope: "every device" };
    const operation = retrained ? "releaseModelVersionForCohort" : "releaseModelVersion";
    const target = `POST /v1/models/${model}/versions/${version}/release`;
    let found: Lineage["approver"] = null;
    for (let afterSeq = 0; ; ) {
      const entries = await store.governance.listEntries({ operation, afterSeq, limit: ENTRIES_AT_ONCE });
      for (const entry of entries) {
        if (entry.code !== "OK" || !entry.target.startsWith(target)) continue;
        found = {
          by: entry.caller,
          atMs: entry.atMs,
          scope: retrained ? `cohort ${retrained.cohort}` : "every device",
        };
      }
      if (entries.length < ENTRIES_AT_ONCE) break;
      afterSeq = entries.at(-1)!.seq;
    }
    if (found !== null || retrained === undefined) return found;
    const [job] = (await store.retraining.list({ model, cohort: retrained.cohort, limit: 1_000 })).filter(
      (one) => one.version === version,
    );
    return { by: retrained.by, atMs: job?.updatedAtMs ?? 0, scope: `cohort ${retrained.cohort}` };
  }

  return {
    /** `sites` limits whose predictions may be asked for, and which devices and assets behind them are named. */
    async of(id: number, sites: readonly string[] | undefined): Promise<Result<Lineage>> {
      const [found] = await store.ingest.predictions({
        order: "commit",
        afterId: id - 1,
        limit: 1,
        ...(sites ? { sites } : {}),
      });
      if (found?.id !== id) return err("NOT_FOUND", { what: "prediction", name: String(id) });
      const { model, digest, asset, observedAtMs, value } = found.record;
      const version = await store.registry.findDigest({ model, digest });
      if (version === undefined) return err("NOT_FOUND", { what: "model version", name: `${model} ${digest}` });
      const { lineage } = version.manifest;
      const own = sites && new Set((await store.devices.list({ sites, limit: 1_000_000 })).map(({ device }) => device));
      const { run, histories } = await runOf(lineage.run, own);
      const named = histories.length > 0 ? histories : [lineage.snapshot];
      return ok({
        prediction: { id, device: found.device, asset, observedAtMs, value: value ?? null },
        model: {
          model,
          version: version.version,
          digest,
          phase: version.phase,
          trainer: lineage.trainer,
          seed: lineage.seed ?? null,
          parent: lineage.parent ?? null,
          createdAtMs: version.createdAtMs,
          createdBy: version.createdBy,
        },
        run,
        snapshots: (await Promise.all(named.map((name) => snapshotOf(name, own)))).flat(),
        approver: await approverOf(version),
      });
    },
  };
}
export type LineageReader = ReturnType<typeof createLineage>;

function viewOf(history: HistoryRecord, own: Own): Lineage["snapshots"][0] {
  const { id, snapshot, label, request: asked, report, createdAtMs, createdBy } = history;
  const { rows, assets, failures } = report;
  const origin = "fleet" in asked ? "fleet" : "imported";
  const devices = (all: readonly string[]) => all.filter((device) => own?.has(device) ?? true);
  const request =
    "fleet" in asked ? { ...asked, fleet: { ...asked.fleet, devices: devices(asked.fleet.devices) } } : asked;
  return { id, digest: snapshot, label, origin, rows, assets, failures, createdAtMs, createdBy, request };
}
