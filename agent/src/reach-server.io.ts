import { resolve } from "node:path";
import { ok, type Result } from "@bellwether/protocol/result.ts";
import { findCa } from "@bellwether/protocol/tls/pin.io.ts";
import { loadConfig } from "./cli/config-check.ts";
import type { ReachServer } from "./cli/enroll.ts";
import { isClockSynced } from "./health/clock.io.ts";
import type { EnrolOptions } from "./link/enrol.io.ts";
import { openReach } from "./link/reach.io.ts";

/** The way to a server that nobody enrolled with yet: through the configured proxy, believing the CA that a person named. */
export const reachServer: ReachServer = async ({ url, ca: named, config: file, state }) => {
  const config = file === undefined ? undefined : loadConfig(file);
  if (config && !config.ok) return config;
  const { proxy } = config?.value.link ?? {};
  const opened = openReach({ stateDir: resolve(state), proxy, clockSynced: isClockSynced });
  if (!opened.ok) return opened;
  const before = opened.value;
  if (named === undefined || !url.startsWith("https:")) return ok({ reach: before });
  const ca = await findCa(named, url, before.transport());
  if (!ca.ok) return ca;
  const reach = { ...before, transport: () => ({ ...before.transport(), ca: ca.value }) };
  return ok({ reach, ca: ca.value }) satisfies Result<Pick<EnrolOptions, "reach" | "ca">>;
};
