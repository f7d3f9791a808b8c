/** Fills the data directory of a server with a year of one channel's minutes, through the store's own commands: `fill.ts DIR`. */
import { join } from "node:path";
import { encodeBatch } from "@bellwether/protocol/batch.ts";
import type { StreamBatch } from "@bellwether/protocol/messages/stream.ts";
import { unwrap } from "@bellwether/protocol/result.ts";
import { groupOf } from "../../../fleet-server/src/ingest/message-group.ts";
import { MINUTE_MS } from "../../../fleet-server/src/series/figures.ts";
import { piecesOf } from "../../../fleet-server/src/series/minute-table.ts";
import { COMMANDS } from "../../../fleet-server/src/store/sqlite/commands.ts";
import { openWriter } from "../../../fleet-server/src/store/sqlite/store.worker.ts";
import { FROM_MS, MINUTES, valuesOf } from "./year.ts";

const MINUTES_OF_BATCH = 500;

const { db, release } = unwrap(openWriter(join(process.argv[2] as string, "fleet.sqlite")));
const { ingest, series } = COMMANDS;
for (let minute = 0; minute < MINUTES; minute += MINUTES_OF_BATCH) {
  const records = Array.from(
    { length: Math.min(MINUTES_OF_BATCH, MINUTES - minute) },
    (_, index) => minute + index,
  ).flatMap((at) =>
    valuesOf(at).map((vib, half) => ({
      asset: "pump-1",
      observedAtMs: FROM_MS + at * MINUTE_MS + half * (MINUTE_MS / 2),
      values: { vib },
    })),
  );
  const clock = { bootId: "b", monoMs: 0, wallMs: 0, clockSynced: true };
  const batch = { v: 1, epoch: "00000000000000aa", fromSeq: 1 + 2 * minute, records, hist: false, clock };
  const bytes = encodeBatch({ ...batch, stream: "telemetry" } as StreamBatch, () => 0.01);
  const message = { device: "gw-1", site: "bench", stream: "telemetry", bytes, receivedAtMs: Date.now() } as const;
  db.transaction(() => ingest.commit.run(db, { group: groupOf([message]), withRecords: false }))();
}
for (;;) {
  const found = series.pending.run(db, {});
  if (!found) break;
  const pieces = piecesOf(found.minutes);
  for (const [piece, minutes] of pieces.entries()) {
    const slice = { ...found.slice, done: piece };
    db.transaction(() => series.keep.run(db, { slice, minutes, last: piece === pieces.length - 1 }))();
  }
}
for (let fromGroup: number | undefined = 0; fromGroup !== undefined; ) {
  fromGroup = db.transaction((from: number) => series.pack.run(db, { beforeMs: Date.now(), fromGroup: from }))(
    fromGroup,
  ).next;
}
db.close();
release();
process.stdout.write(`${JSON.stringify({ filled: MINUTES })}\n`);
