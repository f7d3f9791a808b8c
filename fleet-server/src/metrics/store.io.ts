import { RETAINED, type Retained } from "../store/retention.ts";
import type { Store } from "../store/store.ts";
import type { Metrics } from "./metrics.ts";

/** What the store holds, what of it waits, and what was deleted because it was old: no loss, and counted apart from losses. */
export function addStoreMetrics(
  metrics: Metrics,
  ports: {
    readonly store: Pick<Store, "series" | "retention">;
    deleted(): Readonly<Record<Retained, number>>;
  },
): void {
  const { store } = ports;
  metrics.gauge("bellwether_store_bytes", "Length of the store's file.", async () => [
    { value: (await store.retention.space({})).bytes },
  ]);
  metrics.gauge("bellwether_store_free_bytes", "Of them free: for new records, or to be given back.", async () => [
    { value: (await store.retention.space({})).freeBytes },
  ]);
  metrics.gauge("bellwether_rollup_waiting_batches", "Committed batches that are not in the figures yet.", async () => [
    { value: await store.series.waiting({}) },
  ]);
  metrics.reading("bellwether_retention_deleted_total", "Records deleted because they were old, by class.", () => {
    const deleted = ports.deleted();
    return RETAINED.map((retained) => ({ labels: { class: retained }, value: deleted[retained] }));
  });
}
