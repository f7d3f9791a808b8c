import { type Problem, problem } from "@bellwether/protocol/errors.ts";
import type { Time } from "@bellwether/protocol/process/time.ts";
import { RollingDay } from "@bellwether/protocol/rolling-day.ts";
import { deviceTopic } from "@bellwether/protocol/topics.ts";
import type { Connection, OpenConnection } from "./connection.io.ts";
import type { LineClass } from "./line-cost.ts";
import {
  BACKOFF,
  type LinkEffect,
  type LinkEvent,
  type LinkPhase,
  OFFLINE,
  type StepInput,
  stepLink,
} from "./machine.ts";
import type { Link, LinkFigures, LinkOptions, LinkTiming, Reported } from "./ports.ts";
import { type ReportedSlot, Session } from "./session.ts";

const TIMING: LinkTiming = { ...BACKOFF, syncMs: 10_000, ackMs: 10_000, leaveMs: 1_000 };
const TICK_MS = 250;

/** What a link does to the world. */
export interface LinkPorts {
  readonly time: Time;
  readonly connect: OpenConnection;
}

/** The link of a device; it does nothing until it is started. */
export class MqttLink implements Link {
  readonly #options: LinkOptions;
  readonly #ports: LinkPorts;
  readonly #timing: LinkTiming;
  readonly #slot: ReportedSlot = { current: undefined, echoedRev: 0 };
  #state = OFFLINE;
  /** Counts attempts: what an older one still has to say is not heard. */
  #attempt = 0;
  #connectingSinceMs = 0;
  #connection: Connection | undefined;
  #session: Session | undefined;
  #rev: number;
  #sessions = 0;
  #resent = 0;
  readonly #line: RollingDay<LineClass>;
  #said: string | undefined;
  #cancelRetry: () => void = () => undefined;
  #cancelTick: (() => void) | undefined;
  #leaving: Promise<void> = Promise.resolve();

  constructor(options: LinkOptions, ports: LinkPorts) {
    this.#options = options;
    this.#ports = ports;
    this.#timing = { ...TIMING, ...options.timing };
    this.#line = new RollingDay(ports.time.monoMs());
    // Revisions grow over restarts, as sessions do.
    this.#rev = options.sessions.next();
  }

  get phase(): LinkPhase {
    return this.#state.phase;
  }

  start(): void {
    if (this.#cancelTick === undefined) this.#tickOn();
    this.#happened("start");
  }

  #tickOn(): void {
    this.#cancelTick = this.#ports.time.after(Math.min(TICK_MS, this.#timing.ackMs / 4), () => {
      this.#tickOn();
      this.#tick();
    });
  }

  async stop(): Promise<void> {
    this.#cancelTick?.();
    this.#cancelTick = undefined;
    this.#happened("stop");
    await this.#leaving;
  }

  report(reported: Reported): void {
    this.#slot.current = { rev: ++this.#rev, reported };
    this.#session?.reportedChanged();
  }

  announce(): void {
    if (this.#state.phase === "online" || this.#state.phase === "syncing") this.#session?.announce();
  }

  epochChanged(): void {
    this.#happened("renumbered");
  }

  figures(): LinkFigures {
    const { coversMs, sums } = this.#line.day(this.#ports.time.monoMs());
    return {
      phase: this.#state.phase,
      sessions: this.#sessions,
      resent: this.#resent,
      line: { coversMs, bytes: sums },
      inFlight: this.#session?.inFlight ?? 0,
      reportedEchoed: this.#slot.current === undefined || this.#slot.current.rev <= this.#slot.echoedRev,
    };
  }

  #happened(event: LinkEvent, asked: Pick<StepInput, "askedMs"> = {}): void {
    const before = this.#state.phase;
    const { time } = this.#ports;
    const input = { nowMs: time.monoMs(), random: time.random(), timing: this.#timing, ...asked };
    const { state, effects } = stepLink(this.#state, event, input);
    this.#state = state;
    for (const effect of effects) this.#run(effect);
    if (state.phase !== before) this.#options.onPhase?.(state.phase);
  }

  #run(effect: LinkEffect): void {
    switch (effect.do) {
      case "connect":
        void this.#connect(++this.#attempt);
        return;
      case "openSession":
        this.#openSession(this.#attempt);
        return;
      case "goOnline":
        this.#sessions++;
        this.#said = undefined;
        this.#options.outbox.setOnline(true);
        this.#session?.goOnline();
        return;
      case "goOffline":
        this.#session?.goOffline();
        this.#options.outbox.setOnline(false);
        return;
      case "drop":
        void this.#release()?.end(false);
        return;
      case "leave":
        this.#leaving = this.#leave();
        return;
      case "retryIn":
        this.#cancelRetry = this.#ports.time.after(effect.delayMs, () => this.#happened("due"));
        return;
      case "cancelRetry":
        this.#cancelRetry();
        return;
    }
  }

  async #connect(attempt: number): Promise<void> {
    this.#connectingSinceMs = this.#ports.time.monoMs();
    const options = this.#options;
    const login = await options.login();
    if (attempt !== this.#attempt) return;
    if (!login.ok) {
      this.#tell(login.error);
      this.#happened("lost", askedOf(login.error));
      return;
    }
    const number = options.sessions.next();
    const topics = deviceTopic(options.site, options.device);
    let session: Session | undefined;
    try {
      const connection = await this.#ports.connect({
        url: options.mqttUrl,
        reach: options.reach,
        clientId: options.device,
        ...login.value,
        connectTimeoutMs: this.#timing.syncMs,
        will: {
          topic: topics.up("state"),
          payload: Buffer.from(JSON.stringify({ v: 1, session: number, online: false })),
        },
        onMessage: (topic, payload) => session?.receive(topic, payload),
        onClosed: (reason) => this.#lost(attempt, reason),
      });
      if (attempt !== this.#attempt) {
        await connection.end(false);
        return;
      }
      this.#connection = connection;
      session = this.#newSession(connection, number, attempt);
      this.#session = session;
      await connection.subscribe(topics.downFilters);
      if (attempt === this.#attempt) this.#happened("connected");
    } catch (cause) {
      const { message, problem: known } = cause as Error & { readonly problem?: Problem };
      this.#lost(attempt, message, known);
    }
  }

  #openSession(attempt: number): void {
    // The outbox is in another thread, which may be ending.
    this.#session?.open().catch((cause: Error) => this.#lost(attempt, cause.message));
  }

  #newSession(connection: Connection, number: number, attempt: number): Session {
    const current = () => attempt === this.#attempt;
    return new Session(connection, number, this.#slot, this.#options, this.#timing, this.#ports.time, {
      synced: () => current() && this.#happened("synced"),
      stuck: () => {
        if (!current()) return;
        this.#tell(problem("LINK_LOST", { url: this.#options.mqttUrl, reason: "nothing was answered for too long" }));
        this.#happened("stuck");
      },
      resent: (chunks) => {
        this.#resent += chunks;
      },
      carried: (what, bytes) => this.#line.add(what, bytes, this.#ports.time.monoMs()),
      trouble: (what) => this.#tell(problem("LINK_MESSAGE", { reason: what })),
    });
  }

  #lost(attempt: number, reason: string, known?: Problem): void {
    if (attempt !== this.#attempt) return;
    this.#tell(known ?? problem("LINK_LOST", { url: this.#options.mqttUrl, reason }));
    this.#happened("lost");
  }

  #tick(): void {
    const nowMs = this.#ports.time.monoMs();
    // The login goes over HTTP and the connection over TCP: either may hang without ever failing.
    const tooLong = nowMs - this.#connectingSinceMs > 3 * this.#timing.syncMs;
    if (this.#state.phase === "connecting" && tooLong) this.#happened("stuck");
    else this.#session?.tick(nowMs);
  }

  /** Lets go of the session and its connection; whatever they still say is not heard. */
  #release(): Connection | undefined {
    const connection = this.#connection;
    this.#attempt++;
    this.#session?.close();
    this.#session = undefined;
    this.#connection = undefined;
    return connection;
  }

  async #leave(): Promise<void> {
    const session = this.#session;
    const connection = this.#release();
    if (connection === undefined) return;
    let cancel: () => void = () => undefined;
    const timeout = new Promise<void>((resolve) => {
      cancel = this.#ports.time.after(this.#timing.leaveMs, resolve);
    });
    // Unanswered goodbyes do not hold the process: the server has the last will, and its own clock.
    await Promise.race([session?.sayGoodbye().catch(() => undefined), timeout]);
    await Promise.race([connection.end(true).catch(() => undefined), timeout]);
    cancel();
    await connection.end(false).catch(() => undefined);
  }

  #tell(said: Problem): void {
    if (this.#said === said.message) return;
    this.#said = said.message;
    this.#options.onProblem?.(said);
  }
}

/** Within what time a server that refused a login asked to be tried again, if it did. */
function askedOf({ detail }: Problem): Pick<StepInput, "askedMs"> {
  const seconds = detail["retryAfterSeconds"];
  return typeof seconds === "number" ? { askedMs: seconds * 1_000 } : {};
}
