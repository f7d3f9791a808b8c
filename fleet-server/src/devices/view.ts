import { type Selector, selects } from "@bellwether/protocol/selector.ts";
import type { DeviceRecord } from "../store/devices.ts";
import { type Presence, type PresenceRule, presenceOf } from "./presence.ts";

/** Which devices a list shows. */
export interface DeviceFilter {
  readonly selector: Selector;
  readonly presence?: Presence;
}

/** Labels and facts as selectors see them; site and device name are labels by themselves. */
export function selectable(device: DeviceRecord): Record<string, string> {
  return { ...device.facts, ...device.labels, site: device.site, device: device.device };
}

/** What is shown of a device to whoever sees its site. */
export function deviceView(device: DeviceRecord, nowMs: number, rule: PresenceRule) {
  return {
    device: device.device,
    site: device.site,
    phase: device.phase,
    ...presenceOf(device, nowMs, rule),
    lastSeenAtMs: device.lastSeenAtMs,
    clockAheadMs: device.clockAheadMs,
    labels: { ...device.labels },
    facts: { ...device.facts },
    serial: device.serial,
    agentVersion: device.agentVersion,
    enrolledAtMs: device.enrolledAtMs,
    cloned: device.clonedAtMs !== null,
    clonedAtMs: device.clonedAtMs,
    replacedBy: device.replacedBy,
  };
}

/** Whether a list with this filter shows the device. */
export function isShown(device: DeviceRecord, filter: DeviceFilter, nowMs: number, rule: PresenceRule): boolean {
  if (filter.presence !== undefined && presenceOf(device, nowMs, rule).presence !== filter.presence) return false;
  return filter.selector.length === 0 || selects(filter.selector, selectable(device));
}
