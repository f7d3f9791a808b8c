import type { StateMessage } from "@bellwether/protocol/messages/device.ts";
import { type AckMessage, ackMessage } from "@bellwether/protocol/messages/stream.ts";
import type { Time } from "@bellwether/protocol/process/time.ts";
import { type DeviceTopics, deviceTopic, type UpKind } from "@bellwether/protocol/topics.ts";
import type { Connection } from "./connection.io.ts";
import { InFlight } from "./in-flight.ts";
import { type LineClass, lineClassOf, packetBytes } from "./line-cost.ts";
import type { LinkOptions, LinkTiming, Reported } from "./ports.ts";

/** Bytes that may be on their way without an acknowledgement. */
const IN_FLIGHT_BYTES_MAX = 512 * 1024;
/** Less room than this is not worth asking for: a chunk may be this long. */
const TAKE_BYTES_MIN = 64 * 1024;
/** What one packet may hold; the broker closes the connection of whoever sends more. */
const PAYLOAD_BYTES_MAX = 65_000;

/** What is reported now, shared by all sessions of a link. */
export interface ReportedSlot {
  current: { readonly rev: number; readonly reported: Reported } | undefined;
  echoedRev: number;
}

/** What a session tells its link. */
export interface SessionEvents {
  synced(): void;
  stuck(): void;
  resent(chunks: number): void;
  /** So many bytes went over the line, either way. */
  carried(what: LineClass, bytes: number): void;
  /** A message was too long for a packet, or the server's could not be read. */
  trouble(what: string): void;
}

/**
 * What is said over one connection. It may open more than once, when the outbox draws a new epoch. Everything that needs
 * an answer has a time; `tick` looks at them.
 */
export class Session {
  readonly #connection: Connection;
  readonly #options: LinkOptions;
  readonly #timing: LinkTiming;
  readonly #time: Time;
  readonly #events: SessionEvents;
  readonly #topics: DeviceTopics;
  readonly #number: number;
  readonly #slot: ReportedSlot;
  readonly #inFlight = new InFlight();
  /** Counts openings and closings: what was asked for before is dropped when it comes. */
  #turn = 0;
  #epoch: string | undefined;
  #pumping = false;
  #over = false;
  #awaitsSyncSinceMs: number | undefined;
  #heartbeatAtMs = 0;
  /** When the oldest heartbeat was sent that the broker has not confirmed. */
  #unconfirmedSinceMs: number | undefined;
  #reportedAtMs = Number.NEGATIVE_INFINITY;

  constructor(
    connection: Connection,
    number: number,
    slot: ReportedSlot,
    options: LinkOptions,
    timing: LinkTiming,
    time: Time,
    events: SessionEvents,
  ) {
    this.#connection = connection;
    this.#number = number;
    this.#slot = slot;
    this.#options = options;
    this.#timing = timing;
    this.#time = time;
    this.#events = events;
    this.#topics = deviceTopic(options.site, options.device);
  }

  get inFlight(): number {
    return this.#inFlight.chunks;
  }

  /** Opens the session, or opens it again: positions first, then what the device is. */
  async open(): Promise<void> {
    const turn = ++this.#turn;
    this.#pumping = false;
    this.#inFlight.clear();
    this.#epoch = undefined;
    this.#awaitsSyncSinceMs = this.#time.monoMs();
    const positions = await this.#options.outbox.open();
    if (turn !== this.#turn || this.#over) return;
    this.#epoch = positions.epoch;
    this.#sendState({ epoch: positions.epoch, streams: positions.streams.map((position) => ({ ...position })) });
    this.announce();
    // Whatever this server has echoed before: it may have been restored from a backup since, and must learn what runs here.
    this.#slot.echoedRev = 0;
    this.#sendReported();
  }

  /** Sends a birth per asset. */
  announce(): void {
    const births = this.#options.births();
    for (const [index, birth] of births.entries()) {
      this.#send("birth", { v: 1, session: this.#number, index, of: births.length, ...birth }, true);
    }
  }

  /** Sends what is reported, if the server has not echoed it. */
  reportedChanged(): void {
    if (this.#epoch !== undefined) this.#sendReported();
  }

  goOnline(): void {
    this.#pumping = true;
    this.#pumpOn();
  }

  goOffline(): void {
    this.#turn++;
    this.#pumping = false;
  }

  receive(topic: string, payload: Uint8Array): void {
    if (this.#over) return;
    this.#events.carried("received", packetBytes(topic, payload.length));
    if (topic === this.#topics.down("desired")) this.#options.onDesired(payload);
    if (topic === this.#topics.down("baseline")) this.#options.onBaseline?.(payload);
    if (topic !== this.#topics.down("ack")) return;
    const parsed = ackMessage.parse(payload);
    if (parsed.ok) this.#acked(parsed.value as AckMessage);
    else this.#events.trouble(parsed.error.message);
  }

  #acked(ack: AckMessage): void {
    if (ack.reportedRev !== undefined) this.#slot.echoedRev = Math.max(this.#slot.echoedRev, ack.reportedRev);
    const words = Object.values(ack.streams);
    if (words.length === 0 && ack.newEpoch !== true) return;
    this.#options.outbox.ack(ack);
    if (this.#epoch === undefined) return;
    this.#inFlight.acked(ack, this.#epoch);
    // With the order of a new epoch the session opens again first: the outbox says when it has drawn one.
    if (ack.newEpoch !== true && words.some((word) => word.epoch === this.#epoch)) {
      if (this.#awaitsSyncSinceMs !== undefined) {
        this.#awaitsSyncSinceMs = undefined;
        this.#events.synced();
      }
    }
    this.#pumpOn();
  }

  #pumpOn(): void {
    this.#pump(this.#turn).catch((cause: Error) => this.#events.trouble(cause.message));
  }

  /** Asks the outbox for as much as may be on its way, and sends it. One question at a time. */
  async #pump(turn: number): Promise<void> {
    while (this.#pumping && turn === this.#turn && !this.#over) {
      const room = this.#inFlight.room(IN_FLIGHT_BYTES_MAX);
      if (room < TAKE_BYTES_MIN) return;
      this.#pumping = false;
      const chunks = await this.#options.outbox.take(room);
      if (turn !== this.#turn || this.#over) return;
      this.#pumping = true;
      // Nothing is the answer to a question that was overtaken: asking again at once would spin.
      if (chunks.length === 0) return;
      const nowMs = this.#time.monoMs();
      for (const chunk of chunks) {
        this.#inFlight.add(chunk, nowMs);
        this.#publish(chunk.stream, chunk.bytes);
      }
    }
  }

  /** Looks at what is due: called a few times a second. */
  tick(nowMs: number): void {
    if (this.#over) return;
    const { syncMs, ackMs } = this.#timing;
    const silent =
      (this.#awaitsSyncSinceMs !== undefined && nowMs - this.#awaitsSyncSinceMs > syncMs) ||
      (this.#unconfirmedSinceMs !== undefined && nowMs - this.#unconfirmedSinceMs > 2 * ackMs);
    const { again, stuck } = this.#inFlight.overdue(nowMs, ackMs);
    if (silent || stuck) {
      this.#events.stuck();
      return;
    }
    for (const chunk of again) this.#publish(chunk.stream, chunk.bytes);
    if (again.length > 0) this.#events.resent(again.length);
    if (this.#epoch === undefined) return;
    if (nowMs - this.#heartbeatAtMs >= this.#options.heartbeatMs) this.#sendState({});
    if (nowMs - this.#reportedAtMs >= ackMs) this.#sendReported();
  }

  /** The last words of a session that ends in good order. */
  async sayGoodbye(): Promise<void> {
    const state: StateMessage = { v: 1, session: this.#number, online: false, atMs: this.#time.wallMs() };
    await this.#connection.publish(this.#topics.up("state"), bytesOf(state), true);
  }

  close(): void {
    this.#over = true;
    this.#pumping = false;
    this.#turn++;
  }

  #sendState(opening: Pick<StateMessage, "epoch" | "streams">): void {
    const { heartbeatMs, health } = this.#options;
    const known = health?.();
    const state: StateMessage = {
      v: 1,
      session: this.#number,
      online: true,
      atMs: this.#time.wallMs(),
      heartbeatMs,
      ...opening,
      ...(known === undefined ? {} : { health: known }),
    };
    const sentAtMs = this.#time.monoMs();
    this.#heartbeatAtMs = sentAtMs;
    this.#unconfirmedSinceMs ??= sentAtMs;
    this.#publish("state", bytesOf(state), true, () => {
      this.#unconfirmedSinceMs = undefined;
    });
  }

  #sendReported(): void {
    const { current, echoedRev } = this.#slot;
    if (current === undefined || current.rev <= echoedRev) return;
    this.#reportedAtMs = this.#time.monoMs();
    this.#send("reported", { v: 1, session: this.#number, rev: current.rev, ...current.reported }, false);
  }

  #send(kind: "birth" | "reported", message: object, retain: boolean): void {
    const bytes = bytesOf(message);
    if (bytes.length <= PAYLOAD_BYTES_MAX) this.#publish(kind, bytes, retain);
    else this.#events.trouble(`a ${kind} of ${bytes.length} bytes fits no packet`);
  }

  #publish(kind: UpKind, bytes: Uint8Array, retain = false, confirmed?: () => void): void {
    const topic = this.#topics.up(kind);
    this.#events.carried(lineClassOf(kind), packetBytes(topic, bytes.length));
    // A publish that fails means a connection that ends; the link hears of that by itself, and everything is sent again.
    this.#connection.publish(topic, bytes, retain).then(
      () => confirmed?.(),
      () => undefined,
    );
  }
}

function bytesOf(message: object): Uint8Array {
  return Buffer.from(JSON.stringify(message), "utf8");
}
