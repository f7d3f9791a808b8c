import type { Problem } from "@bellwether/protocol/errors.ts";
import type { DeviceFeed } from "@bellwether/protocol/messages/feed.ts";
import type { OutboxEntry } from "../buffer/outbox.ts";

/** A connection to a site's own broker, from agent/link (the only folder that knows an MQTT client). */
export interface SitePublisher {
  /** False where the broker is away, or does not keep up: the message is not sent, and nobody waits. */
  publish(topic: string, payload: Uint8Array, retain: boolean): boolean;
  close(): Promise<void>;
}

export type ConnectPublisher = (options: {
  readonly url: string;
  readonly username?: string;
  readonly password?: string;
  /** What the broker says when the device is gone. */
  readonly will: { readonly topic: string; readonly payload: Uint8Array };
  /** The connection came up or was lost; it is tried again for ever. */
  readonly onConnected: (connected: boolean) => void;
}) => SitePublisher;

/** Who speaks. */
export interface OutputOrigin {
  readonly site: string;
  readonly device: string;
  readonly labels: Readonly<Record<string, string>>;
}

/** What an output gets from the outside. */
export interface OutputContext {
  readonly origin: OutputOrigin;
  readonly nowMs: () => number;
  readonly heartbeatMs: number;
  readonly connectMqtt: ConnectPublisher;
  /** The models that run now. */
  readonly models: () => DeviceFeed["models"];
  readonly onProblem: (problem: Problem) => void;
}

/** Something that the device tells beside the fleet server. It never holds anything up. */
export interface Output {
  /** Takes what a step made; it is told once it is durable. */
  take(entry: OutboxEntry): void;
  /** Everything taken is durable now. */
  committed(): void;
  close(): Promise<void>;
}
