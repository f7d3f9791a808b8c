import { viewBatch } from "@bellwether/protocol/batch-view.ts";
import { STREAMS, type Stream } from "@bellwether/protocol/messages/stream.ts";
import { err, ok, type Result } from "@bellwether/protocol/result.ts";
import type { Database } from "better-sqlite3";
import { add, missing, type Range } from "../../ingest/ranges.ts";
import { statement } from "./command.ts";
import { agreesWithStored } from "./ingest-content.ts";
import { IngestGroup, type OpenStream } from "./ingest-group.ts";
import { addGap, clockOffset, storePart } from "./ingest-parts.ts";

interface LetterRow {
  readonly device: string;
  readonly site: string;
  readonly stream: string;
  readonly bytes: Buffer | null;
  readonly at_ms: number;
}

const GONE = "its bytes are not kept any more";
const PASSED =
  "it is a word of its device about a moment that has passed; the device says it anew whenever it connects";
const OTHERWISE = "what is stored under its seqs says something else";

/**
 * Takes a dead letter as a server that understands it would have taken it when it came: its records are stored under
 * their own seqs, in the place of the gap that stood for them, marked as backfill; the letter goes. Nothing is changed
 * where it still cannot be taken.
 */
export function replayDeadLetter(
  db: Database,
  { id, nowMs }: { readonly id: number; readonly nowMs: number },
): Result<{ readonly records: number }> {
  const refuse = (reason: string) => err("DEAD_LETTER_NOT_REPLAYABLE", { id, reason });
  const letter = statement(db, "SELECT device, site, stream, bytes, at_ms FROM dead_letters WHERE id = ?").get(id) as
    | LetterRow
    | undefined;
  if (letter === undefined) return err("NOT_FOUND", { what: "dead letter", name: `${id}` });
  const { device, site, bytes } = letter;
  if (bytes === null) return refuse(GONE);
  if (!isStream(letter.stream)) return refuse(PASSED);
  const viewed = viewBatch(letter.stream, bytes);
  if (!viewed.ok) return refuse(`it still cannot be read: ${viewed.error.message}`);
  const view = viewed.value;
  const place = { index: 0, source: 0, from: 0, to: bytes.length };
  const message = { ...place, device, site, stream: letter.stream, bytes, receivedAtMs: nowMs };
  const group = new IngestGroup(db);
  const open = group.stream(0, device, letter.stream, view.epoch);
  const count = view.gap?.count ?? view.count;
  const range: Range = [view.fromSeq, view.fromSeq + count - 1];
  const parts = [...missing(open.position, range), ...reopenable(db, open, range)].sort((a, b) => a[0] - b[0]);
  const fresh = parts.reduce((sum, [first, last]) => sum + last - first + 1, 0);
  if (fresh < count && !view.gap && !agreesWithStored(db, message, view.batch(), open.epochNo))
    return refuse(OTHERWISE);
  reopen(db, open, range);
  const offsetMs = clockOffset(db, { ...message, receivedAtMs: letter.at_ms }, view);
  const at = { site, device, epochNo: open.epochNo, hist: 1 as const, offsetMs };
  for (const part of parts) storePart(db, group, open, message, view, at, part);
  group.keepPosition(open, parts.reduce(add, open.position));
  group.flush();
  statement(db, "DELETE FROM dead_letters WHERE id = ?").run(id);
  return ok({ records: view.gap ? 0 : fresh });
}

interface GapRow {
  readonly from_seq: number;
  readonly to_seq: number;
  readonly at_ms: number;
}

/** Gaps that dead letters left in a range of a stream. */
function gapsIn(db: Database, { device, epochNo, stream }: OpenStream, [from, to]: Range): GapRow[] {
  return statement(
    db,
    `SELECT from_seq, to_seq, at_ms FROM gaps WHERE device = ? AND epoch_no = ? AND stream = ? AND reason = 'deadLetter'
       AND from_seq <= ? AND to_seq >= ?`,
  ).all(device, epochNo, stream, to, from) as GapRow[];
}

function reopenable(db: Database, open: OpenStream, range: Range): Range[] {
  return gapsIn(db, open, range).map(({ from_seq, to_seq }) => [
    Math.max(from_seq, range[0]),
    Math.min(to_seq, range[1]),
  ]);
}

/** Takes a range out of the gaps that dead letters left; what of them lies outside stays. */
function reopen(db: Database, open: OpenStream, range: Range): void {
  const { device, epochNo, stream } = open;
  for (const { from_seq, to_seq, at_ms } of gapsIn(db, open, range)) {
    statement(db, "DELETE FROM gaps WHERE device = ? AND epoch_no = ? AND stream = ? AND from_seq = ?").run(
      device,
      epochNo,
      stream,
      from_seq,
    );
    const left: Range = [from_seq, range[0] - 1];
    const right: Range = [range[1] + 1, to_seq];
    for (const rest of [left, right]) {
      if (rest[0] <= rest[1]) addGap(db, { device, epochNo, stream, range: rest, reason: "deadLetter", nowMs: at_ms });
    }
  }
}

function isStream(text: string): text is Stream {
  return (STREAMS as readonly string[]).includes(text);
}
