/** Bounds of the broker. */
export interface BrokerLimits {
  /** A packet before login, and after it, in bytes. */
  readonly packetBytesBeforeLogin: number;
  readonly packetBytes: number;
  readonly connectionsMax: number;
  /** Connections that have not logged in yet; they have `connectTimeoutMs` to do so. */
  readonly loginsMax: number;
  readonly connectTimeoutMs: number;
  /** Connections that wait to be taken; the kernel's own bound (net.core.somaxconn) may be lower. */
  readonly backlog: number;
  /** Bytes of one client, and of all together, that may wait for the store before clients are not read any more. */
  readonly waitingBytesMax: number;
  readonly waitingBytesTotalMax: number;
  /** What one device may send in a minute, over all its connections; over it the device is not read until it may again. */
  readonly messagesPerMinute: number;
  readonly bytesPerMinute: number;
  /** Bytes on their way to one client: a subscriber misses what comes beyond, a device is cut off and comes again. */
  readonly outgoingBytesMax: number;
  /** Filters that one connection may have, a subscriber's or a device's. */
  readonly filtersMax: number;
  /** A client that reads nothing of what waits for it for this long is dropped. */
  readonly drainTimeoutMs: number;
}

export const BROKER_LIMITS: BrokerLimits = {
  packetBytesBeforeLogin: 2_048,
  packetBytes: 65_536,
  connectionsMax: 20_000,
  loginsMax: 1_000,
  connectTimeoutMs: 10_000,
  backlog: 4_096,
  waitingBytesMax: 524_288,
  waitingBytesTotalMax: 67_108_864,
  messagesPerMinute: Number.POSITIVE_INFINITY,
  bytesPerMinute: Number.POSITIVE_INFINITY,
  outgoingBytesMax: 1_048_576,
  filtersMax: 100,
  drainTimeoutMs: 10_000,
};
