import type { FiguresStore, HeardDevice } from "../figures.ts";
import { type Commands, read } from "./command.ts";

export const figuresCommands = {
  devices: read((db) =>
    (
      db
        .prepare(
          `SELECT device, phase, last_seen_at_ms AS lastSeenAtMs, heartbeat_ms AS heartbeatMs,
             clock_ahead_ms AS clockAheadMs, state ->> 'online' AS online FROM devices`,
        )
        .all() as (Omit<HeardDevice, "online"> & { online: number | null })[]
    ).map((row) => ({ ...row, online: row.online === null ? null : row.online === 1 })),
  ),
  rolloutsByPhase: read(
    (db) =>
      db.prepare("SELECT phase, count(*) AS count FROM rollouts GROUP BY phase").all() as {
        phase: string;
        count: number;
      }[],
  ),
  losses: read(
    (db) =>
      db
        .prepare(
          `SELECT (SELECT count(*) FROM dead_letters) AS deadLetters,
                  (SELECT total(to_seq - from_seq + 1) FROM gaps) AS gapRecords`,
        )
        .get() as { deadLetters: number; gapRecords: number },
  ),
} satisfies Commands<FiguresStore>;
