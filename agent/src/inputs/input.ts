import type { Problem } from "@bellwether/protocol/errors.ts";
import type { ChannelBirth } from "@bellwether/protocol/messages/device.ts";
import type { TelemetryRow } from "@bellwether/protocol/messages/stream.ts";
import type { Result } from "@bellwether/protocol/result.ts";

/** What JSON can say: the form of an input's cursor. */
export type JsonValue = null | boolean | number | string | readonly JsonValue[] | { readonly [key: string]: JsonValue };

/** The channels an input feeds on one asset: what the asset's birth declares. */
export interface AssetChannels {
  readonly asset: string;
  readonly channels: readonly ChannelBirth[];
}

/**
 * Takes rows in source order, with the cursor to go on from once they are durable. The promise resolves when the
 * pipeline has taken them: an adapter has a bounded number of rows on their way until then. A rejection stops it.
 */
export type Emit = (rows: TelemetryRow[], cursor?: JsonValue) => Promise<void> | void;

/** One input of the configuration, running. */
export interface InputAdapter {
  /** Assets and channels it will feed; a replay reads its file for them. Called before `start`. */
  declare(): Promise<Result<readonly AssetChannels[]>>;
  start(emit: Emit): void;
  /** Resolves when nothing more will be emitted. */
  stop(): Promise<void>;
}

/** The readings of the device itself that the host input takes; `createProbes` of health fits. */
export interface HostProbes {
  cpuLoad(): Promise<number | undefined>;
  memoryUsedFraction(): Promise<number | undefined>;
  diskUsedFraction(path: string): Promise<number | undefined>;
  temperatureC(): Promise<number | undefined>;
}

/** A connection to a site broker, from agent/link (the only folder that knows an MQTT client). */
export interface SiteBroker {
  close(): Promise<void>;
}

export interface SiteBrokerOptions {
  readonly url: string;
  readonly username?: string;
  readonly password?: string;
  readonly topics: readonly string[];
  /** `kept`: the broker kept it for whoever subscribes; when it was published is not known. */
  readonly onMessage: (topic: string, payload: Uint8Array, kept: boolean) => void;
  /**
   * The connection came up, could not be made or was lost, and why; it is tried again for ever. `unfit`: it was ended
   * because of what the broker sent.
   */
  readonly onConnected: (connected: boolean, reason: string, unfit: boolean) => void;
}

export type ConnectSiteBroker = (options: SiteBrokerOptions) => SiteBroker;

/** What adapters get from the outside. */
export interface InputContext {
  /** Where to go on: the cursor of the last durable rows. */
  readonly cursor?: JsonValue;
  readonly nowMs: () => number;
  readonly connectMqtt: ConnectSiteBroker;
  readonly probes: HostProbes;
  /** Something the device's owner must know: an unreadable file or payload. The adapter goes on where it can. */
  readonly onProblem: (problem: Problem) => void;
  /** The input has come to its end (a replay's file, a simulator's `rows`). */
  readonly onEnd?: () => void;
}
