import type { Rooms } from "../store.ts";
import type { Commands } from "./command.ts";
import { devices } from "./devices.ts";
import { director } from "./director.ts";
import { drift } from "./drift.ts";
import { figuresCommands } from "./figures.ts";
import { governanceCommands } from "./governance.ts";
import { ingest } from "./ingest.ts";
import { outcomes } from "./outcomes.ts";
import { registry } from "./registry.ts";
import { retention } from "./retention.ts";
import { retraining } from "./retraining.ts";
import { rollouts } from "./rollouts.ts";
import { series } from "./series.ts";
import { trainingCommands } from "./training.ts";

/** Every room's commands against SQLite. */
export const COMMANDS: { readonly [Room in keyof Rooms]: Commands<Rooms[Room]> } = {
  figures: figuresCommands,
  governance: governanceCommands,
  devices,
  director,
  ingest,
  series,
  drift,
  outcomes,
  retention,
  retraining,
  rollouts,
  training: trainingCommands,
  registry,
};
