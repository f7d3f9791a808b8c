import type { Problem } from "@bellwether/protocol/errors.ts";
import { birthMessage, reportedMessage, stateMessage } from "@bellwether/protocol/messages/device.ts";
import type { AckMessage, Stream, StreamAck } from "@bellwether/protocol/messages/stream.ts";
import { STREAMS } from "@bellwether/protocol/messages/stream.ts";
import { machineTime } from "@bellwether/protocol/process/time.io.ts";
import type { Time } from "@bellwether/protocol/process/time.ts";
import { err } from "@bellwether/protocol/result.ts";
import { deviceTopic } from "@bellwether/protocol/topics.ts";
import type { DeviceMessage } from "../broker/broker.io.ts";
import type { CommittedBatch, IncomingBatch } from "../store/ingest.ts";
import type { Store } from "../store/store.ts";

/** What ingest needs of the other rooms. */
export interface IngestPorts {
  readonly store: Pick<Store, "devices" | "ingest">;
  toDevice(device: string, topic: string, payload: Uint8Array): boolean;
  /** Committed batches for the feed, with their records only where somebody listens; it neither waits nor throws. */
  readonly feed: {
    wanted(): boolean;
    committed(batches: readonly CommittedBatch[]): void;
    presence(device: string): void;
  };
  /** A process of a device opened a session; undefined for one that gives no name. */
  onOpened(device: string, instance: string | undefined): void;
  /** A device was heard: its session may just have begun. */
  onReported(device: string): void;
  now(): number;
  report(problem: string, detail: unknown): void;
}

export interface IngestCounts {
  readonly messages: number;
  readonly bytes: number;
  readonly committed: number;
  readonly duplicates: number;
  readonly poison: number;
  readonly conflicts: number;
  /** Not taken yet, because the stream has too many holes. */
  readonly deferred: number;
  readonly waiting: number;
}

/** Takes what devices say, commits it in groups, and only then acknowledges. */
export interface Ingest {
  offer(message: DeviceMessage): void;
  counts(): IngestCounts;
  /** Commits what waits and notes when devices were heard last. */
  close(): Promise<void>;
}

/** Messages and bytes committed in one transaction at most: more would only make the acknowledgement late. */
const GROUP_MESSAGES_MAX = 2_048;
const GROUP_BYTES_MAX = 4_194_304;
const SEEN_EVERY_MS = 500;
const RETRY_MS = 1_000;
/** A device that sends one unreadable message after the other is named once in this time. */
const REPORT_EVERY_MS = 60_000;

/** An ingest over the store. */
export function createIngest(ports: IngestPorts, { after }: Pick<Time, "after"> = machineTime): Ingest {
  const queue: { readonly batch: IncomingBatch; readonly message: DeviceMessage }[] = [];
  const sessions = new Map<string, Promise<void>>();
  const seen = new Map<string, number>();
  const reported = new Map<string, number>();
  const counts = { messages: 0, bytes: 0, committed: 0, duplicates: 0, poison: 0, conflicts: 0, deferred: 0 };
  let committing: Promise<void> | undefined;

  function takeGroup() {
    let bytes = 0;
    let length = 0;
    while (length < queue.length && length < GROUP_MESSAGES_MAX && bytes < GROUP_BYTES_MAX) {
      bytes += queue[length++]?.batch.bytes.byteLength ?? 0;
    }
    return queue.splice(0, length);
  }

  async function commitAll(): Promise<void> {
    while (queue.length > 0) {
      const group = takeGroup();
      try {
        const committed = await ports.store.ingest.commit({
          batches: group.map((entry) => entry.batch),
          withRecords: ports.feed.wanted(),
        });
        acknowledge(committed);
        ports.feed.committed(committed.filter(({ outcome }) => outcome === "committed"));
      } catch (cause) {
        // Not acknowledged: the devices keep it and send it again.
        ports.report("ingest", cause);
        await new Promise<void>((resolve) => void after(RETRY_MS, resolve));
      } finally {
        for (const { message } of group) message.done();
      }
    }
    committing = undefined;
  }

  function acknowledge(committed: readonly CommittedBatch[]): void {
    const acks = new Map<string, { site: string; streams: Record<string, StreamAck>; newEpoch: boolean }>();
    for (const { device, site, stream, outcome, ack } of committed) {
      if (outcome === "committed") counts.committed++;
      else if (outcome === "duplicate") counts.duplicates++;
      else if (outcome === "poison") counts.poison++;
      else if (outcome === "deferred") counts.deferred++;
      else counts.conflicts++;
      if (outcome === "poison") reportPoison(device, stream, "kept as a dead letter");
      const own = acks.get(device) ?? { site, streams: {}, newEpoch: false };
      if (ack) own.streams[stream] = ack;
      own.newEpoch ||= outcome === "conflict";
      acks.set(device, own);
    }
    for (const [device, { site, streams, newEpoch }] of acks) {
      sendAck(device, site, { v: 1, streams, ...(newEpoch ? { newEpoch } : {}) });
    }
  }

  function sendAck(device: string, site: string, ack: AckMessage): void {
    ports.toDevice(device, deviceTopic(site, device).down("ack"), Buffer.from(JSON.stringify(ack)));
  }

  /** State, birth and reported of one device in the order they came: a will must not overtake the birth before it. */
  function inOrder(message: DeviceMessage, run: () => Promise<void>): void {
    const before = sessions.get(message.device) ?? Promise.resolve();
    const after = before
      .then(run)
      .catch((cause) => ports.report(`${message.kind} of ${message.device}`, cause))
      .finally(() => {
        message.done();
        if (sessions.get(message.device) === after) sessions.delete(message.device);
      });
    sessions.set(message.device, after);
  }

  async function control(message: DeviceMessage): Promise<void> {
    const { device, site, bytes } = message;
    if (message.kind === "state") {
      const state = stateMessage.parse(bytes);
      if (!state.ok) return refuse(message, state.error);
      const { epoch, streams, online, instance } = state.value;
      if (epoch !== undefined) ports.onOpened(device, instance);
      const wrong = streams?.find(({ firstHeld, next }) => firstHeld > next);
      if (wrong) return refuse(message, contradiction(wrong.stream));
      // A last will is the broker's word, not the device's: it must not make the device look alive.
      if (online) seen.set(device, ports.now());
      if (!(await ports.store.devices.state({ device, message: state.value }))) return;
      ports.feed.presence(device);
      if (epoch === undefined || streams === undefined) return;
      const opened = await ports.store.ingest.openSession({ device, epoch, streams, nowMs: ports.now() });
      sendAck(device, site, { v: 1, streams: opened.acks, ...(opened.conflict ? { newEpoch: true } : {}) });
    } else if (message.kind === "birth") {
      const birth = birthMessage.parse(bytes);
      if (!birth.ok) return refuse(message, birth.error);
      await ports.store.devices.birth({ device, message: birth.value });
    } else {
      const said = reportedMessage.parse(bytes);
      if (!said.ok) return refuse(message, said.error);
      const reportedRev = await ports.store.devices.reported({ device, message: said.value, nowMs: ports.now() });
      sendAck(device, site, { v: 1, streams: {}, reportedRev });
      ports.onReported(device);
    }
  }

  async function refuse(message: DeviceMessage, { code, message: text }: Problem): Promise<void> {
    const { device, site, kind, bytes } = message;
    counts.poison++;
    reportPoison(device, kind, text);
    await ports.store.ingest.keepDeadLetter({ device, site, kind, code, message: text, bytes, atMs: ports.now() });
  }

  function reportPoison(device: string, kind: string, reason: string): void {
    const nowMs = ports.now();
    if (nowMs - (reported.get(device) ?? Number.NEGATIVE_INFINITY) < REPORT_EVERY_MS) return;
    reported.set(device, nowMs);
    ports.report("unreadable message", { device, kind, reason });
  }

  async function noteSeen(): Promise<void> {
    if (seen.size === 0) return;
    const at = [...seen];
    seen.clear();
    await ports.store.devices.seen({ at }).catch((cause) => ports.report("presence", cause));
  }
  let cancelNote: () => void = () => undefined;
  const noteOn = () => {
    cancelNote = after(SEEN_EVERY_MS, () => {
      noteOn();
      void noteSeen();
    });
  };
  noteOn();

  return {
    offer(message) {
      counts.messages++;
      counts.bytes += message.bytes.byteLength;
      if (message.kind !== "state") seen.set(message.device, ports.now());
      if (!isStream(message.kind)) return inOrder(message, () => control(message));
      const { device, site, kind, bytes } = message;
      queue.push({ batch: { device, site, stream: kind, bytes, receivedAtMs: ports.now() }, message });
      committing ??= Promise.resolve().then(commitAll);
    },
    counts: () => ({ ...counts, waiting: queue.length }),
    async close() {
      cancelNote();
      await committing;
      await Promise.all(sessions.values());
      await noteSeen();
    },
  };
}

function contradiction(stream: string): Problem {
  return err("INVALID_SHAPE", {
    what: "The state",
    path: `/streams (${stream})`,
    expected: "firstHeld must not be beyond next",
  }).error;
}

function isStream(kind: DeviceMessage["kind"]): kind is Stream {
  return (STREAMS as readonly string[]).includes(kind);
}
