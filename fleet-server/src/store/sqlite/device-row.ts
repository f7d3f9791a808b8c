import type { DeviceRecord } from "../devices.ts";

/** A row of the devices table. */
export interface DeviceRow {
  readonly device: string;
  readonly site: string;
  readonly serial: string | null;
  readonly public_hex: string;
  readonly phase: DeviceRecord["phase"];
  readonly labels: string;
  readonly facts: string;
  readonly enrolled_at_ms: number;
  readonly last_seen_at_ms: number | null;
  readonly heartbeat_ms: number | null;
  readonly clock_ahead_ms: number | null;
  readonly session: number;
  readonly agent_version: string | null;
  readonly state: string | null;
  readonly cloned_at_ms: number | null;
  readonly replaced_by: string | null;
}

/** The record of a row. */
export function deviceOf(row: DeviceRow): DeviceRecord {
  return {
    device: row.device,
    site: row.site,
    serial: row.serial,
    publicHex: row.public_hex,
    phase: row.phase,
    labels: JSON.parse(row.labels),
    facts: JSON.parse(row.facts),
    enrolledAtMs: row.enrolled_at_ms,
    lastSeenAtMs: row.last_seen_at_ms,
    heartbeatMs: row.heartbeat_ms,
    clockAheadMs: row.clock_ahead_ms,
    session: row.session,
    agentVersion: row.agent_version,
    state: row.state === null ? null : JSON.parse(row.state),
    clonedAtMs: row.cloned_at_ms,
    replacedBy: row.replaced_by,
  };
}
