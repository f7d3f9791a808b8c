import type { Problem } from "@bellwether/protocol/errors.ts";
import { birthMessage, reportedMessage, stateMessage } from "@bellwether/protocol/messages/device.ts";
import type { AckMessage, Stream, StreamAck } from "@bellwether/protocol/messages/stream.ts";
import { STREAMS } from "@bellwether/protocol/messages/stream.ts";
import { machineTime } from "@bellwether/protocol/process/time.io.ts";
import type { Time } from "@bellwether/protocol/process/time.ts";
import { err } from "@bellwether/protocol/result.ts";
import { TelemetryScanner } from "@bellwether/protocol/telemetry-scan.ts";
import { deviceTopic, type UpKind } from "@bellwether/protocol/topics.ts";
import type { DeviceSender } from "../broker/broker.io.ts";
import {
  type AskedRecords,
  type CommittedGroup,
  type GroupMemory,
  INGEST_OUTCOMES,
  type MessageSource,
} from "../store/ingest.ts";
import type { Store } from "../store/store.ts";
import { MessageGroupDraft } from "./message-group.ts";

/** What ingest needs of the other rooms. */
export interface IngestPorts {
  readonly store: Pick<Store, "devices" | "ingest">;
  toDevice(device: string, topic: string, payload: Uint8Array): boolean;
  /** Committed batches for the feed, with their records as far as it asks for them; it neither waits nor throws. */
  readonly feed: {
    asks(messages: number): AskedRecords;
    committed(group: Pick<CommittedGroup, "batches" | "leftOut">): void;
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
  /** Bytes of payload by what the messages are. */
  readonly bytes: Readonly<Partial<Record<UpKind, number>>>;
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
  /** Takes a message; of `payload` it keeps a copy. */
  offer(sender: DeviceSender, kind: UpKind, payload: Uint8Array): void;
  counts(): IngestCounts;
  /** Commits what waits and notes when devices were heard last. */
  close(): Promise<void>;
}

/** A message about the device itself, kept until it is its turn. */
interface ControlMessage {
  readonly device: string;
  readonly site: string;
  readonly kind: Exclude<UpKind, Stream>;
  readonly bytes: Uint8Array;
  readonly heardAtMs: number;
}

/** Messages that will be committed together, and what each sender has among them. */
interface OpenGroup {
  readonly draft: MessageGroupDraft;
  readonly waiting: Map<DeviceSender, Waiting>;
  /** Whose message came last: nearly always whose comes next. */
  usual: Waiting | undefined;
}

interface Waiting {
  readonly sender: DeviceSender;
  messages: number;
  bytes: number;
}

function waitingOf({ waiting }: OpenGroup, sender: DeviceSender): Waiting {
  const own = waiting.get(sender) ?? { sender, messages: 0, bytes: 0 };
  waiting.set(sender, own);
  return own;
}

/** Memory of groups that is kept for the next: one is committed while another waits for it, and a third is laid down. */
const SPARES_MAX = 3;
const SEEN_EVERY_MS = 500;
const RETRY_MS = 1_000;
/** A device that sends one unreadable message after the other is named once in this time. */
const REPORT_EVERY_MS = 60_000;

/** An ingest over the store. */
export function createIngest(ports: IngestPorts, { after }: Pick<Time, "after"> = machineTime): Ingest {
  /** Groups that wait; the last takes more until it is full. */
  const groups: OpenGroup[] = [];
  const spares: GroupMemory[] = [];
  const scanner = new TelemetryScanner();
  const sessions = new Map<string, Promise<void>>();
  const seen = new Map<string, number>();
  const reported = new Map<string, number>();
  const bytes: Partial<Record<UpKind, number>> = {};
  const counts = { messages: 0, bytes, committed: 0, duplicates: 0, poison: 0, conflicts: 0, deferred: 0 };
  let committing: Promise<void> | undefined;

  function enqueue(sender: DeviceSender, stream: Stream, payload: Uint8Array, nowMs: number): void {
    let open = groups.at(-1);
    if (open === undefined || open.draft.isFull) {
      open = { draft: new MessageGroupDraft(scanner, spares.pop()), waiting: new Map(), usual: undefined };
      groups.push(open);
    }
    open.draft.add(sender.device, sender.site, stream, payload, nowMs);
    const own = open.usual?.sender === sender ? open.usual : waitingOf(open, sender);
    open.usual = own;
    own.messages++;
    own.bytes += payload.length;
    committing ??= Promise.resolve().then(commitAll);
  }

  async function commitAll(): Promise<void> {
    for (let next = groups.shift(); next !== undefined; next = groups.shift()) {
      const group = next.draft.finish();
      const { sources, sourceOf } = group;
      try {
        const bytes = group.bytes.length;
        const committed = await ports.store.ingest.commit({ group, ...ports.feed.asks(group.ends.length) });
        keepMemory(committed.memory, bytes);
        acknowledge(sources, sourceOf, committed);
        ports.feed.committed(committed);
      } catch (cause) {
        // Not acknowledged: the devices keep it and send it again.
        ports.report("ingest", cause);
        await new Promise<void>((resolve) => void after(RETRY_MS, resolve));
      } finally {
        for (const { sender, messages, bytes } of next.waiting.values()) sender.done(messages, bytes);
      }
    }
    committing = undefined;
  }

  /** Keeps the memory of a group for one of the next, unless it was made for a burst that has passed. */
  function keepMemory(memory: GroupMemory, usedBytes: number): void {
    if (spares.length < SPARES_MAX && memory.bytes.byteLength <= 8 * usedBytes) spares.push(memory);
  }

  /** One acknowledgement for each device, however many of its messages and streams were in the group. */
  function acknowledge(
    sources: readonly MessageSource[],
    sourceOf: Uint32Array,
    { outcomes, acks }: Pick<CommittedGroup, "outcomes" | "acks">,
  ): void {
    const newEpoch = new Set<string>();
    for (let index = 0; index < outcomes.length; index++) {
      const outcome = INGEST_OUTCOMES[outcomes[index] as number];
      if (outcome === "committed") counts.committed++;
      else if (outcome === "duplicate") counts.duplicates++;
      else if (outcome === "deferred") counts.deferred++;
      else {
        const { device, stream } = sources[sourceOf[index] as number] as MessageSource;
        if (outcome === "poison") {
          counts.poison++;
          reportPoison(device, stream, "kept as a dead letter");
        } else {
          counts.conflicts++;
          newEpoch.add(device);
        }
      }
    }
    const byDevice = new Map<string, { site: string; streams: Partial<Record<Stream, StreamAck>> }>();
    for (const [place, { device, site, stream }] of sources.entries()) {
      const own = byDevice.get(device) ?? { site, streams: {} };
      const ack = acks[place];
      if (ack) own.streams[stream] = ack;
      byDevice.set(device, own);
    }
    for (const [device, { site, streams }] of byDevice) {
      sendAck(device, site, { v: 1, streams, ...(newEpoch.has(device) ? { newEpoch: true } : {}) });
    }
  }

  function sendAck(device: string, site: string, ack: AckMessage): void {
    ports.toDevice(device, deviceTopic(site, device).down("ack"), Buffer.from(JSON.stringify(ack)));
  }

  /** State, birth and reported of one device in the order they came: a will must not overtake the birth before it. */
  function inOrder(sender: DeviceSender, message: ControlMessage): void {
    const { device, kind, bytes } = message;
    const before = sessions.get(device) ?? Promise.resolve();
    const after = before
      .then(() => control(message))
      .catch((cause) => ports.report(`${kind} of ${device}`, cause))
      .finally(() => {
        sender.done(1, bytes.length);
        if (sessions.get(device) === after) sessions.delete(device);
      });
    sessions.set(device, after);
  }

  async function control(message: ControlMessage): Promise<void> {
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
      if (!(await ports.store.devices.state({ device, message: state.value, nowMs: message.heardAtMs }))) return;
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

  async function refuse(message: ControlMessage, { code, message: text }: Problem): Promise<void> {
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
    offer(sender, kind, payload) {
      const { device, site } = sender;
      const nowMs = ports.now();
      counts.messages++;
      bytes[kind] = (bytes[kind] ?? 0) + payload.length;
      if (kind !== "state") seen.set(device, nowMs);
      if (isStream(kind)) return enqueue(sender, kind, payload, nowMs);
      inOrder(sender, { device, site, kind, bytes: new Uint8Array(payload), heardAtMs: nowMs });
    },
    counts: () => ({ ...counts, waiting: groups.reduce((sum, { draft }) => sum + draft.length, 0) }),
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

function isStream(kind: UpKind): kind is Stream {
  return (STREAMS as readonly string[]).includes(kind);
}
