import { existsSync } from "node:fs";
import { join } from "node:path";
import { err, ok } from "@bellwether/protocol/result.ts";
import { lockStateDirectory } from "./buffer/lock.io.ts";
import { loadConfig } from "./cli/config-check.ts";
import type { WipeDevice } from "./cli/wipe.ts";
import { isClockSynced } from "./health/clock.io.ts";
import { ENROLMENT_FILE, KEY_FILE, readIdentity } from "./link/enrol.io.ts";
import { openReach } from "./link/reach.io.ts";
import { tellOfWipe, wipeState } from "./link/wipe.io.ts";

/** What shows that a folder is an agent's state and not somebody's home. */
const SIGNS = [KEY_FILE, ENROLMENT_FILE, "outbox.sqlite", "update.json"];

/**
 * Wipes a state directory that no agent runs on. The server is told first, while there is a key to sign it with; a
 * server that cannot be reached keeps nothing from being wiped.
 */
export const wipeDevice: WipeDevice = async ({ stateDir, config: file }) => {
  if (!SIGNS.some((name) => existsSync(join(stateDir, name)))) return err("AGENT_NOT_ENROLLED", { stateDir });
  const config = file === undefined ? undefined : await loadConfig(file);
  if (config && !config.ok) return config;
  const lock = lockStateDirectory(stateDir);
  if (!lock.ok) return lock;
  try {
    const identity = readIdentity(stateDir);
    const reach = openReach({ stateDir, proxy: config?.value.link.proxy, clockSynced: isClockSynced });
    const told = !identity.ok ? identity : !reach.ok ? reach : await tellOfWipe(identity.value, reach.value);
    const removed = wipeState(stateDir);
    if (!removed.ok) return removed;
    return ok({
      device: identity.ok ? identity.value.enrolment.device : undefined,
      removed: removed.value,
      untold: told.ok ? undefined : told.error.message,
    });
  } finally {
    lock.value.release();
  }
};
