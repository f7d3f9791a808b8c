import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Manifest } from "@bellwether/protocol/package/manifest.ts";
import { idleModel, type ModelState } from "../../agent/src/update/machine.ts";
import { testManifest } from "./models.ts";
import { writeSlot } from "./slots.ts";

/** Puts a verified package into a state directory's slots, as an update that succeeded leaves it. */
export function installSlot(
  stateDir: string,
  model: Uint8Array,
  changes: Partial<Manifest> = {},
  ...reference: [reference?: unknown]
) {
  const folder = join(stateDir, "slots", testManifest(changes).model);
  const slot = writeSlot(folder, model, changes, ...reference);
  return { ...slot, version: slot.manifest.version };
}

/** Writes what the updater keeps: these models' states, everything else as in an idle one. */
export function writeUpdateState(
  stateDir: string,
  ...models: readonly (Partial<ModelState> & { model: string })[]
): void {
  const kept = {
    v: 1,
    directorVersion: 7,
    timeFloorMs: 0,
    models: models.map((own) => ({ ...idleModel(own.model), ...own })),
  };
  writeFileSync(join(stateDir, "update.json"), JSON.stringify(kept), { mode: 0o600 });
}
