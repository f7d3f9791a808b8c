import { claimedRange } from "@bellwether/protocol/batch.ts";
import { type BatchView, viewBatch } from "@bellwether/protocol/batch-view.ts";
import { type Problem, problem } from "@bellwether/protocol/errors.ts";
import type { StreamAck } from "@bellwether/protocol/messages/stream.ts";
import { ok, type Result } from "@bellwether/protocol/result.ts";
import { ScannedBatch } from "@bellwether/protocol/scanned-batch.ts";
import type { Database } from "better-sqlite3";
import { add, continues, fits, missing, type Position, type Range } from "../../ingest/ranges.ts";
import {
  type AskedRecords,
  type CommittedBatch,
  INGEST_OUTCOMES,
  type IngestOutcome,
  type IngestStore,
  type MessageGroup,
  type MessageSource,
  type SiteAsset,
} from "../ingest.ts";
import { type Commands, write } from "./command.ts";
import { keepDeadLetter } from "./dead-letters.ts";
import { arrivalsOf } from "./ingest-arrivals.ts";
import { agreesWithStored } from "./ingest-content.ts";
import { epochNumber, type IngestGroup, type OpenStream, readPosition, writePosition } from "./ingest-group.ts";
import type { StoredAt } from "./ingest-latest.ts";
import { addGap, clockOffset, type Message, storePart } from "./ingest-parts.ts";
import { ingestReads } from "./ingest-reads.ts";
import { replayDeadLetter } from "./ingest-replay.ts";
import { ingestWire, memoryOf } from "./ingest-wire.ts";

export { ingestMigrations } from "./ingest-schema.ts";

export const ingest = {
  ...ingestReads,
  commit: write((db, { group, withRecords, telemetryEvery = 1 }) => {
    const start = () => newAnswers(group, { withRecords, telemetryEvery });
    if (!arrivalsOf(db).agree) settleArrivals(db);
    const { outcomes, acks, batches, leftOut } = commitMessages(db, group, true, start);
    const assets = [...leftOut.assets.values()];
    return { outcomes, acks, batches, leftOut: { rows: leftOut.rows, assets }, memory: memoryOf(group) };
  }, ingestWire),

  openSession: write((db, { device, epoch, streams, nowMs }) => {
    const epochNo = epochNumber(db, device, epoch);
    const acks: Record<string, StreamAck> = {};
    let conflict = false;
    for (const { stream, firstHeld, next } of streams) {
      let position = readPosition(db, device, epochNo, stream);
      const highest = position.also.at(-1)?.[1] ?? position.upTo;
      if (highest >= next) conflict = true;
      if (firstHeld > 1) {
        for (const range of missing(position, [1, firstHeld - 1])) {
          addGap(db, { device, epochNo, stream, range, reason: "lost", nowMs });
          position = add(position, range);
        }
        writePosition(db, { device, epochNo, stream, position });
      }
      acks[stream] = { epoch, ...position };
    }
    return { acks, conflict };
  }),

  keepDeadLetter: write((db, letter) => keepDeadLetter(db, letter)),
  replayDeadLetter: write(replayDeadLetter),
} as const satisfies Commands<IngestStore>;

/** Errors of SQLite that are about a message; every other one is about the disk, and then nothing may be concluded. */
const MESSAGE_ERRORS = /^SQLITE_(CONSTRAINT|MISMATCH|TOOBIG)/;

function isAboutMessage(db: Database, cause: unknown): boolean {
  const { code = "" } = cause as Error & { code?: string };
  return db.inTransaction && (!code.startsWith("SQLITE_") || MESSAGE_ERRORS.test(code));
}

/** What the messages of a group have answered so far. */
interface Answers {
  readonly outcomes: Uint8Array;
  readonly acks: (StreamAck | undefined)[];
  readonly batches: CommittedBatch[];
  readonly leftOut: { rows: number; readonly assets: Map<string, SiteAsset> };
  readonly withRecords: boolean;
  readonly telemetryEvery: number;
}

function newAnswers({ ends }: MessageGroup, { withRecords, telemetryEvery = 1 }: AskedRecords): Answers {
  const leftOut = { rows: 0, assets: new Map<string, SiteAsset>() };
  return { outcomes: new Uint8Array(ends.length), acks: [], batches: [], leftOut, withRecords, telemetryEvery };
}

/**
 * Writes groups that wait into their place, before anything else looks there; those too that a process left behind which
 * ended before.
 */
export function settleArrivals(db: Database): void {
  const arrivals = arrivalsOf(db);
  if (arrivals.agree) {
    if (arrivals.areWaiting) arrivals.settle();
    return;
  }
  arrivals.forget();
  for (const group of arrivals.takeStored()) {
    commitMessages(db, group, false, () => newAnswers(group, { withRecords: false }));
  }
}

/** Commits a group: as a whole, or message by message where one of them cannot be stored. */
function commitMessages(db: Database, group: MessageGroup, mayWait: boolean, start: () => Answers): Answers {
  const count = group.ends.length;
  let answers = start();
  try {
    inSavepoint(db, group, 0, count, mayWait, answers);
  } catch (cause) {
    arrivalsOf(db).forget();
    if (!isAboutMessage(db, cause)) throw cause;
    // The group is undone, and each stands for itself.
    answers = start();
    settleArrivals(db);
    for (let index = 0; index < count; index++) commitAlone(db, group, index, answers);
  }
  return answers;
}

function messageOf(group: MessageGroup, bytes: Buffer, index: number): Message {
  const source = group.sourceOf[index] as number;
  const { device, site, stream } = group.sources[source] as MessageSource;
  const from = index === 0 ? 0 : (group.ends[index - 1] as number);
  const receivedAtMs = group.receivedAtMs[index] as number;
  return { device, site, stream, index, source, bytes, from, to: group.ends[index] as number, receivedAtMs };
}

function viewOf({ tape, tapeAt }: MessageGroup, { stream, index, bytes, from, to }: Message): Result<BatchView> {
  const at = tapeAt[index] as number;
  return at < 0 ? viewBatch(stream, bytes, from, to) : ok(new ScannedBatch(tape, at, bytes, from, to));
}

type CommitGroup = (group: MessageGroup, from: number, to: number, mayWait: boolean, answers: Answers) => void;
const savepoints = new WeakMap<Database, CommitGroup>();

/** Commits messages `from` to before `to` in a savepoint, all of them where they may wait; it is made once per connection, making it costs as much as several statements. */
function inSavepoint(
  db: Database,
  group: MessageGroup,
  from: number,
  to: number,
  mayWait: boolean,
  answers: Answers,
): void {
  const commit =
    savepoints.get(db) ??
    db.transaction((messages: MessageGroup, first: number, end: number, waits: boolean, into: Answers) => {
      const arrivals = arrivalsOf(db);
      const kept = waits ? arrivals.layDown(messages) : undefined;
      const { buffer, byteOffset, byteLength } = messages.bytes;
      const bytes = kept ?? Buffer.from(buffer, byteOffset, byteLength);
      arrivals.open.begin();
      for (let index = first; index < end; index++) {
        const message = messageOf(messages, bytes, index);
        keepAnswer(into, message, commitOne(db, arrivals.open, message, viewOf(messages, message), into));
      }
      if (kept !== undefined && arrivals.open.isPlain) arrivals.keep(messages, kept);
      else arrivals.settle();
    });
  savepoints.set(db, commit);
  commit(group, from, to, mayWait, answers);
}

/** Commits one message: if it cannot be stored, it must not hold up the others for ever. */
function commitAlone(db: Database, group: MessageGroup, index: number, answers: Answers): void {
  try {
    inSavepoint(db, group, index, index + 1, false, answers);
  } catch (cause) {
    if (!isAboutMessage(db, cause)) throw cause;
    const { code = "", message } = cause as Error & { code?: string };
    const arrivals = arrivalsOf(db);
    arrivals.forget();
    const { buffer, byteOffset, byteLength } = group.bytes;
    const poison = messageOf(group, Buffer.from(buffer, byteOffset, byteLength), index);
    const reference = `${code} ${message}`.trim();
    keepAnswer(answers, poison, commitPoison(db, arrivals.open, poison, problem("INTERNAL", { reference })));
    arrivals.settle();
  }
}

/** How one message ended, and where its stream stands then. */
interface Ended {
  readonly outcome: IngestOutcome;
  readonly ack: StreamAck | undefined;
}

function keepAnswer(answers: Answers, { index, source }: Message, { outcome, ack }: Ended): void {
  answers.outcomes[index] = INGEST_OUTCOMES.indexOf(outcome);
  if (ack) answers.acks[source] = ack;
}

function commitOne(
  db: Database,
  group: IngestGroup,
  message: Message,
  viewed: Result<BatchView>,
  answers: Answers,
): Ended {
  const { device, stream } = message;
  if (!viewed.ok) return commitPoison(db, group, message, viewed.error);
  const view = viewed.value;
  const open = group.stream(message.source, device, stream, view.epoch);
  if (continues(open.position, view.fromSeq)) {
    const upTo = view.fromSeq + (view.gap?.count ?? view.count) - 1;
    return commitParts(db, group, open, message, view, [[view.fromSeq, upTo]], { upTo, also: [] }, answers);
  }
  group.isPlain = false;
  const count = view.gap?.count ?? view.count;
  const range: Range = [view.fromSeq, view.fromSeq + count - 1];
  const parts = missing(open.position, range);
  const ack = (at: Position) => ({ epoch: view.epoch, ...at });
  // A gap says that records gave way, never what they were: where some arrived after all, it contradicts nothing. It may
  // also come again longer or shorter than before.
  const known = parts.reduce((left, [first, last]) => left - (last - first + 1), count);
  if (known > 0) group.settle(open);
  if (known > 0 && !view.gap && !agreesWithStored(db, message, view.batch(), open.epochNo)) {
    return { outcome: "conflict", ack: ack(open.position) };
  }
  if (parts.length === 0) return { outcome: "duplicate", ack: ack(open.position) };
  const after = parts.reduce(add, open.position);
  // A device that leaves ever more holes would make its position, and every acknowledgement, grow without bound.
  if (!fits(after)) return { outcome: "deferred", ack: ack(open.position) };
  return commitParts(db, group, open, message, view, parts, after, answers);
}

/** Stores the parts of a message that are new. */
function commitParts(
  db: Database,
  group: IngestGroup,
  open: OpenStream,
  message: Message,
  view: BatchView,
  parts: readonly Range[],
  after: Position,
  answers: Answers,
): Ended {
  const { device, site, stream } = message;
  const offsetMs = clockOffset(db, message, view);
  const at: StoredAt = { site, device, epochNo: open.epochNo, hist: view.hist ? 1 : 0, offsetMs };
  for (const part of parts) storePart(db, group, open, message, view, at, part);
  group.keepPosition(open, after);
  if (answers.withRecords && !view.gap) {
    if (isAsked(answers, message)) {
      const all = view.batch().records;
      const records = parts.flatMap(([first, last]) => all.slice(first - view.fromSeq, last - view.fromSeq + 1));
      answers.batches.push({ device, site, stream, hist: view.hist, offsetMs, records });
    } else leaveOut(answers, site, view, parts);
  }
  return { outcome: "committed", ack: { epoch: view.epoch, ...after } };
}

/** Whether the records of a message were asked for. */
function isAsked({ telemetryEvery }: Answers, { stream, index }: Message): boolean {
  return stream !== "telemetry" || (telemetryEvery > 0 && index % telemetryEvery === 0);
}

/** Counts rows that nobody reads, and keeps whose they are: what their assets said last is told all the same. */
function leaveOut({ leftOut }: Answers, site: string, view: BatchView, parts: readonly Range[]): void {
  for (const [first, last] of parts) leftOut.rows += last - first + 1;
  for (const { asset } of view.assets) {
    const key = `${site}/${asset}`;
    if (!leftOut.assets.has(key)) leftOut.assets.set(key, { site, asset });
  }
}

/** Keeps a message as a dead letter; what it says of its records is acknowledged, so that its device goes on. */
function commitPoison(db: Database, group: IngestGroup, message: Message, cause: Problem): Ended {
  const { device, site, stream, receivedAtMs } = message;
  group.isPlain = false;
  const bytes = message.bytes.subarray(message.from, message.to);
  const { code, message: reason } = cause;
  keepDeadLetter(db, { device, site, kind: stream, code, message: reason, bytes, atMs: receivedAtMs });
  const claimed = claimedRange(stream, bytes);
  if (!claimed) return { outcome: "poison", ack: undefined };
  const { epoch, fromSeq, toSeq } = claimed;
  const open = group.stream(message.source, device, stream, epoch);
  const parts = missing(open.position, [fromSeq, toSeq]);
  const after = parts.reduce(add, open.position);
  if (!fits(after)) return { outcome: "poison", ack: { epoch, ...open.position } };
  for (const range of parts) {
    addGap(db, { device, epochNo: open.epochNo, stream, range, reason: "deadLetter", nowMs: receivedAtMs });
  }
  group.keepPosition(open, after);
  return { outcome: "poison", ack: { epoch, ...after } };
}
