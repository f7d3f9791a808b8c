/**
 * offline: not wanted; connecting: logging in and opening MQTT; syncing: the session is open and the server's word on
 * what it has is awaited; online: batches flow; backingOff: waiting for the next attempt.
 */
export const LINK_PHASES = ["offline", "connecting", "syncing", "online", "backingOff"] as const;
export type LinkPhase = (typeof LINK_PHASES)[number];

/** What can happen to a link. */
export const LINK_EVENTS = [
  /** The agent wants a connection, or wants none. */
  "start",
  "stop",
  /** Logged in, connected and subscribed. */
  "connected",
  /** Login or connection was refused, broke, or was closed. */
  "lost",
  /** The server said what it has. */
  "synced",
  /** Something that must be answered was not, for too long: the other side is gone and nobody said so. */
  "stuck",
  /** The outbox numbers its records anew: the session begins again. */
  "renumbered",
  /** The wait before the next attempt is over. */
  "due",
] as const;
export type LinkEvent = (typeof LINK_EVENTS)[number];

/** What the shell has to do, in this order. */
export type LinkEffect =
  | { readonly do: "connect" }
  | { readonly do: "openSession" }
  | { readonly do: "goOnline" }
  | { readonly do: "goOffline" }
  /** Drop the connection without ceremony: the last will speaks for it. */
  | { readonly do: "drop" }
  /** Say goodbye, then close. */
  | { readonly do: "leave" }
  | { readonly do: "retryIn"; readonly delayMs: number }
  | { readonly do: "cancelRetry" };

export interface LinkState {
  readonly phase: LinkPhase;
  /** Attempts since the link was last steadily online. */
  readonly attempt: number;
  readonly onlineSinceMs: number;
}

export const OFFLINE: LinkState = { phase: "offline", attempt: 0, onlineSinceMs: 0 };

/** When to try again. */
export interface BackoffTiming {
  readonly firstMs: number;
  readonly maxMs: number;
  /** A link that was online this long begins counting its attempts from 0. */
  readonly steadyMs: number;
}

export const BACKOFF: BackoffTiming = { firstMs: 500, maxMs: 30_000, steadyMs: 30_000 };

/** What a step may use besides the state: a monotonic time, and a random number in [0, 1) for the jitter. */
export interface StepInput {
  readonly nowMs: number;
  readonly random: number;
  readonly timing: BackoffTiming;
  /** Within what time the server asked to be tried again, which has more to come than it can take. */
  readonly askedMs?: number;
}

interface Rule {
  readonly to: LinkPhase;
  readonly effects: readonly (
    | "connect"
    | "openSession"
    | "goOnline"
    | "goOffline"
    | "drop"
    | "leave"
    | "cancelRetry"
  )[];
  /** Wait with full jitter before the next attempt. */
  readonly backOff?: true;
}

/** The event says nothing new in this phase. */
const STAY = "stay";

const TABLE: Readonly<Record<LinkPhase, Readonly<Record<LinkEvent, Rule | typeof STAY>>>> = {
  offline: {
    start: { to: "connecting", effects: ["connect"] },
    stop: STAY,
    connected: { to: "offline", effects: ["leave"] },
    lost: STAY,
    synced: STAY,
    stuck: STAY,
    renumbered: STAY,
    due: STAY,
  },
  connecting: {
    start: STAY,
    stop: { to: "offline", effects: ["drop"] },
    connected: { to: "syncing", effects: ["openSession"] },
    lost: { to: "backingOff", effects: ["drop"], backOff: true },
    synced: STAY,
    stuck: { to: "backingOff", effects: ["drop"], backOff: true },
    renumbered: STAY,
    due: STAY,
  },
  syncing: {
    start: STAY,
    stop: { to: "offline", effects: ["leave"] },
    connected: STAY,
    lost: { to: "backingOff", effects: ["drop"], backOff: true },
    synced: { to: "online", effects: ["goOnline"] },
    stuck: { to: "backingOff", effects: ["drop"], backOff: true },
    renumbered: { to: "syncing", effects: ["openSession"] },
    due: STAY,
  },
  online: {
    start: STAY,
    stop: { to: "offline", effects: ["goOffline", "leave"] },
    connected: STAY,
    lost: { to: "backingOff", effects: ["goOffline", "drop"], backOff: true },
    synced: STAY,
    stuck: { to: "backingOff", effects: ["goOffline", "drop"], backOff: true },
    renumbered: { to: "syncing", effects: ["goOffline", "openSession"] },
    due: STAY,
  },
  backingOff: {
    start: STAY,
    stop: { to: "offline", effects: ["cancelRetry"] },
    connected: { to: "backingOff", effects: ["drop"] },
    lost: STAY,
    synced: STAY,
    stuck: STAY,
    renumbered: STAY,
    due: { to: "connecting", effects: ["connect"] },
  },
};

/** One step of the link. */
export function stepLink(
  state: LinkState,
  event: LinkEvent,
  { nowMs, random, timing, askedMs }: StepInput,
): { readonly state: LinkState; readonly effects: readonly LinkEffect[] } {
  const rule = TABLE[state.phase][event];
  if (rule === STAY) return { state, effects: [] };
  const effects: LinkEffect[] = rule.effects.map((effect) => ({ do: effect }));
  let { attempt } = state;
  if (rule.backOff) {
    const steady = state.phase === "online" && nowMs - state.onlineSinceMs >= timing.steadyMs;
    if (steady) attempt = 0;
    effects.push({ do: "retryIn", delayMs: backoffMs(attempt, random, timing, askedMs) });
    attempt++;
  }
  const onlineSinceMs = rule.to === "online" && state.phase !== "online" ? nowMs : state.onlineSinceMs;
  return { state: { phase: rule.to, attempt: rule.to === "offline" ? 0 : attempt, onlineSinceMs }, effects };
}

/**
 * The wait before attempt number `attempt` + 1: exponential with full jitter (Brooker, "Exponential Backoff And Jitter",
 * 2015), so that a fleet whose server restarts does not come back as one wave. Where the server asks for more time,
 * any moment of that; no server is obeyed for longer than `maxMs`.
 */
export function backoffMs(
  attempt: number,
  random: number,
  { firstMs, maxMs }: BackoffTiming,
  askedMs: number = 0,
): number {
  return Math.round(random * Math.min(maxMs, Math.max(askedMs, firstMs * 2 ** Math.min(attempt, 30))));
}
