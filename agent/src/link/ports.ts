import type { Problem } from "@bellwether/protocol/errors.ts";
import type { BirthMessage, ReportedMessage, StateMessage } from "@bellwether/protocol/messages/device.ts";
import type { AckMessage } from "@bellwether/protocol/messages/stream.ts";
import type { Result } from "@bellwether/protocol/result.ts";
import type { OutboxChunk, OutboxPositions } from "../buffer/outbox.ts";
import type { LineClass } from "./line-cost.ts";
import type { BackoffTiming, LinkPhase } from "./machine.ts";
import type { Reach } from "./reach.io.ts";

/** The outbox as the link sees it, from another thread. */
export interface OutboxPort {
  /** A session opens: what was not acknowledged is offered again from the oldest. Answers an open `take` with nothing. */
  open(): Promise<OutboxPositions>;
  /** The next chunks of about `maxBytes`, as soon as there are any. */
  take(maxBytes: number): Promise<readonly OutboxChunk[]>;
  ack(ack: AckMessage): void;
  setOnline(online: boolean): void;
}

/** Numbers that only grow, over restarts and whatever the clock does: the server ignores what has a smaller one. */
export interface Counter {
  next(): number;
}

/** What an asset's birth says, without what the link knows itself. */
export type Birth = Omit<BirthMessage, "v" | "session" | "index" | "of">;
/** What the device reports of its models, without what the link knows itself. */
export type Reported = Omit<ReportedMessage, "v" | "session" | "rev">;

/** How long the link waits for what. */
export interface LinkTiming extends BackoffTiming {
  /** For the server's word on what it has, after the session was opened. */
  readonly syncMs: number;
  /** For a batch, a heartbeat or a `reported` to be acknowledged, before it is sent again; twice that means half-open. */
  readonly ackMs: number;
  /** For the goodbye. */
  readonly leaveMs: number;
}

export interface LinkOptions {
  /** mqtt://, mqtts://, ws:// or wss://. */
  readonly mqttUrl: string;
  /** How it is reached; directly by default. */
  readonly reach?: Reach;
  readonly site: string;
  readonly device: string;
  readonly heartbeatMs: number;
  /** A fresh login for one connection. */
  readonly login: () => Promise<Result<{ readonly username: string; readonly password: string }>>;
  readonly outbox: OutboxPort;
  readonly sessions: Counter;
  /** The assets as they are now; asked whenever a session opens. */
  readonly births: () => readonly Birth[];
  /** The device's health for the next heartbeat. */
  readonly health?: () => StateMessage["health"] | undefined;
  /** A director document arrived; its bytes are judged by whoever is given them. */
  readonly onDesired: (bytes: Uint8Array) => void;
  /** What a device that this one replaces knew of an asset; judged by whoever is given it. */
  readonly onBaseline?: (bytes: Uint8Array) => void;
  readonly onPhase?: (phase: LinkPhase) => void;
  /** Why there is no connection: told when the reason changes. */
  readonly onProblem?: (problem: Problem) => void;
  readonly timing?: Partial<LinkTiming>;
}

/** The one connection of a device to its server. */
export interface Link {
  readonly phase: LinkPhase;
  start(): void;
  /** Says goodbye and closes; resolves when nothing is left, in bounded time. */
  stop(): Promise<void>;
  /** Replaces what is reported; it is sent until the server echoes it. */
  report(reported: Reported): void;
  /** The assets or models changed: births are sent again. */
  announce(): void;
  /** The outbox drew a new epoch: the session is opened again. */
  epochChanged(): void;
  figures(): LinkFigures;
}

/** What the line carried. TCP and TLS come on top, and downloads of models, which are not MQTT. */
export interface LineFigures {
  readonly coversMs: number;
  readonly bytes: Readonly<Partial<Record<LineClass, number>>>;
}

export interface LinkFigures {
  readonly phase: LinkPhase;
  /** Connections that reached `online`, and batches sent again for want of an acknowledgement. */
  readonly sessions: number;
  readonly resent: number;
  readonly inFlight: number;
  /** MQTT bytes of the last 24 hours by class; of a link that is younger, since it began. */
  readonly line: LineFigures;
  /** Of the newest `reported`: whether the server has it. */
  readonly reportedEchoed: boolean;
}
