import type { DevicesStore } from "./devices.ts";
import type { DirectorStore } from "./director.ts";
import type { DriftStore } from "./drift.ts";
import type { FiguresStore } from "./figures.ts";
import type { GovernanceStore } from "./governance.ts";
import type { IngestStore } from "./ingest.ts";
import type { OutcomesStore } from "./outcomes.ts";
import type { RegistryStore } from "./registry.ts";
import type { RetentionStore } from "./retention.ts";
import type { RetrainingStore } from "./retraining.ts";
import type { RolloutsStore } from "./rollouts.ts";
import type { SeriesStore } from "./series.ts";
import type { TrainingStore } from "./training.ts";

/**
 * The store's interface: async named commands by room, each atomic inside its adapter; no transaction crosses it. Each
 * room declares its own commands in `store/<room>.ts`; an adapter (`sqlite/`) implements every one of them.
 */
export interface Store extends Rooms {
  /** Finishes what is under way and closes the files. */
  close(): Promise<void>;
}

/** The rooms that keep something. */
export interface Rooms {
  readonly devices: DevicesStore;
  readonly director: DirectorStore;
  readonly ingest: IngestStore;
  readonly series: SeriesStore;
  readonly retention: RetentionStore;
  readonly drift: DriftStore;
  readonly outcomes: OutcomesStore;
  readonly retraining: RetrainingStore;
  readonly figures: FiguresStore;
  readonly governance: GovernanceStore;
  readonly rollouts: RolloutsStore;
  readonly training: TrainingStore;
  readonly registry: RegistryStore;
}

/** Thrown by a command the store cannot take now: it is busy beyond its bound, or closing. Nothing of it was kept. */
export class StoreBusy extends Error {}
