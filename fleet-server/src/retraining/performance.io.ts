import type { Manifest } from "@bellwether/protocol/package/manifest.ts";
import { err, ok, type Result } from "@bellwether/protocol/result.ts";
import { failuresKnownAt } from "../outcomes/outcomes.ts";
import type { Store } from "../store/store.ts";
import { type AssetPast, type JudgedPrediction, type Performance, performanceOf } from "./performance.ts";
import type { TargetSpec } from "./targets.ts";

export interface PerformancePorts {
  readonly store: Pick<Store, "devices" | "ingest" | "outcomes" | "registry" | "training">;
  now(): number;
}

/** What is asked for; times are the predictions' own. */
export interface PerformanceRequest {
  readonly model: string;
  readonly devices: readonly string[];
  readonly fromMs?: number;
  readonly toMs?: number;
}

/** Real errors of a model on some devices, by version and over all. */
export interface PerformanceAnswer {
  readonly target: TargetSpec;
  readonly whole: Performance;
  readonly versions: readonly ({ readonly version: number } & Performance)[];
}

const PREDICTIONS_AT_ONCE = 1_000;
const BATCHES_AT_ONCE = 50;
const OUTCOMES_MAX = 1_000_000;

/** Joins committed predictions with labels that have matured. */
export function createPerformance({ store, now }: PerformancePorts) {
  async function predictionsOf({ model, devices, fromMs = 0, toMs = 8.64e15 }: PerformanceRequest) {
    const found: JudgedPrediction[] = [];
    for (const device of devices) {
      for (let afterId = 0; ; ) {
        const page = await store.ingest.predictions({
          device,
          model,
          order: "commit",
          afterId,
          limit: PREDICTIONS_AT_ONCE,
        });
        for (const { correctedAtMs: atMs, record } of page) {
          if (record.value === undefined || atMs < fromMs || atMs >= toMs) continue;
          found.push({ asset: record.asset, atMs, version: record.version, value: record.value });
        }
        if (page.length < PREDICTIONS_AT_ONCE) break;
        afterId = page.at(-1)!.id;
      }
    }
    return found;
  }

  async function pastsOf(devices: readonly string[]): Promise<AssetPast[]> {
    const times = new Map<string, Set<number>>();
    for (const device of devices) {
      for (let after: readonly [string, number, number] | undefined; ; ) {
        const { rows, next } = await store.ingest.rows({
          device,
          batches: BATCHES_AT_ONCE,
          ...(after ? { after } : {}),
        });
        for (const { asset, correctedAtMs } of rows) {
          const own = times.get(asset) ?? new Set<number>();
          times.set(asset, own.add(correctedAtMs));
        }
        if (next === undefined) break;
        after = next;
      }
    }
    const failures = failuresKnownAt(await store.outcomes.list({ devices, limit: OUTCOMES_MAX }), now());
    return [...times].map(([asset, own]) => ({
      asset,
      timesMs: Float64Array.from(own).sort(),
      failuresMs: Float64Array.from(failures.get(asset) ?? []),
    }));
  }

  return {
    async measure(request: PerformanceRequest): Promise<Result<PerformanceAnswer>> {
      const [version] = await store.registry.versions({ model: request.model, limit: 1 });
      if (version === undefined) return err("NOT_FOUND", { what: "model", name: request.model });
      const target = await targetOf(store, version.manifest);
      if (!target.ok) return target;
      const predictions = await predictionsOf(request);
      const pasts = await pastsOf(request.devices);
      const byVersion = [...Map.groupBy(predictions, (one) => one.version)].toSorted(([a], [b]) => a - b);
      return ok({
        target: target.value,
        whole: performanceOf(predictions, pasts, target.value),
        versions: byVersion.map(([number, own]) => ({ version: number, ...performanceOf(own, pasts, target.value) })),
      });
    },
  };
}
export type PerformanceMeter = ReturnType<typeof createPerformance>;

/** What a model foretells, as its training run was asked for it, or as its output says. */
export async function targetOf(store: Pick<Store, "training">, manifest: Manifest): Promise<Result<TargetSpec>> {
  const { model, lineage, outputs } = manifest;
  const run = lineage?.run === undefined ? undefined : await store.training.getRun({ id: lineage.run });
  const asked = run?.request.target;
  if (asked !== undefined && !("column" in asked)) return ok(asked);
  const primary = outputs.find((output) => output.primary === true);
  if (primary?.meaning === "rul" && primary.range !== undefined) {
    return ok({ kind: "rul", cap: primary.range[1], in: primary.unit === "h" ? "hours" : "rows" });
  }
  const reason = asked === undefined ? "its output is no remaining life" : `it learnt the column ${asked.column}`;
  return err("PERFORMANCE_TARGET_UNKNOWN", { model, reason });
}
