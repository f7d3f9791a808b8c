import { createHash } from "node:crypto";
import type { Time } from "@bellwether/protocol/process/time.ts";
import { type Random, seededRandom } from "@bellwether/protocol/random.ts";

/** What every wall clock of a simulated world says when it begins. */
export const BEGIN_MS = 1_800_000_000_000;

/** A promise that did not hold. */
export interface Violation {
  /** Number of the promise in DESIGN 1. */
  readonly promise: number;
  readonly atMs: number;
  readonly what: string;
}

interface Event {
  readonly atMs: number;
  readonly order: number;
  run: (() => void) | undefined;
}

/** One simulated world: a true time, everything that is still to happen in it, and chance. The seed decides all of it. */
export class World {
  readonly seed: number;
  /** True time since the world began. */
  nowMs = 0;
  readonly trace: Trace;
  readonly violations: Violation[] = [];
  readonly #queue: Event[] = [];
  #orders = 0;

  constructor(seed: number, trace: Trace) {
    this.seed = seed;
    this.trace = trace;
  }

  /** A stream of chance of its own: drawing more of one does not shift another. */
  chance(name: string): Chance {
    const stream = createHash("sha256").update(name).digest().readInt32LE(0);
    return new Chance(seededRandom(this.seed, stream));
  }

  /** Lets something happen later; the answer calls it off. */
  at(delayMs: number, run: () => void): () => void {
    const event: Event = { atMs: this.nowMs + Math.max(0, delayMs), order: this.#orders++, run };
    push(this.#queue, event);
    return () => {
      event.run = undefined;
    };
  }

  /** Lets everything happen that is due until a time, in order, or until a promise is broken. */
  async runUntil(untilMs: number): Promise<void> {
    while (this.violations.length === 0) {
      const next = this.#queue[0];
      if (next === undefined || next.atMs > untilMs) break;
      pop(this.#queue);
      if (next.run === undefined) continue;
      this.nowMs = next.atMs;
      next.run();
      await settled();
    }
    this.nowMs = Math.max(this.nowMs, untilMs);
  }

  say(who: string, what: string): void {
    this.trace.line(this.nowMs, who, what);
  }

  /** A promise is broken: the world ends with this event. */
  broken(promise: number, what: string): void {
    this.violations.push({ promise, atMs: this.nowMs, what });
    this.say("!", `promise ${promise} is broken: ${what}`);
  }
}

/** Resolves when no promise has anything left to do: nextTick comes after the whole queue of microtasks. */
function settled(): Promise<void> {
  return new Promise((resolve) => process.nextTick(resolve));
}

/** Draws from a stream of chance. */
export class Chance {
  readonly #random: Random;

  constructor(random: Random) {
    this.#random = random;
  }

  next(): number {
    return this.#random.next();
  }

  /** True with a probability. */
  happens(probability: number): boolean {
    return this.#random.next() < probability;
  }

  between(low: number, high: number): number {
    return low + this.#random.next() * (high - low);
  }

  whole(low: number, high: number): number {
    return low + this.#random.below(high - low + 1);
  }

  one<T>(of: readonly T[]): T {
    return of[this.#random.below(of.length)] as T;
  }

  hex(digits: number): string {
    return Array.from({ length: digits }, () => this.#random.below(16).toString(16)).join("");
  }
}

/** What happened, line by line; its digest tells two runs apart. */
export class Trace {
  readonly #hash = createHash("sha256");
  readonly #tell: ((line: string) => void) | undefined;
  lines = 0;

  /** `tell` sees every line as it is written. */
  constructor(tell?: (line: string) => void) {
    this.#tell = tell;
  }

  line(atMs: number, who: string, what: string): void {
    const line = `${(atMs / 1_000).toFixed(3).padStart(9)} ${who.padEnd(8)} ${what}`;
    this.lines++;
    this.#hash.update(line);
    this.#tell?.(line);
  }

  digest(): string {
    return this.#hash.digest("hex").slice(0, 16);
  }
}

/** Never settles: what a process that has ended is answered. */
const NEVER = new Promise<never>(() => undefined);

/** One life of a process: its clocks and timers end with it, and nothing it was waiting for comes any more. */
export class Life implements Time {
  alive = true;
  readonly #world: World;
  readonly #chance: Chance;
  readonly #startedAtMs: number;
  readonly #offsetMs: () => number;

  /** `offsetMs`: how far the machine's wall clock is off. */
  constructor(world: World, chance: Chance, offsetMs: () => number) {
    this.#world = world;
    this.#chance = chance;
    this.#startedAtMs = world.nowMs;
    this.#offsetMs = offsetMs;
  }

  monoMs = (): number => this.#world.nowMs - this.#startedAtMs;

  wallMs = (): number => Math.floor(BEGIN_MS + this.#world.nowMs + this.#offsetMs());

  random = (): number => this.#chance.next();

  after = (delayMs: number, run: () => void): (() => void) => {
    if (!this.alive) return () => undefined;
    return this.#world.at(delayMs, () => {
      if (this.alive) run();
    });
  };

  /** The answer to something asked of the world, `delayMs` later; `work` runs then. It never comes once the life is over. */
  async answered<T>(delayMs: number, work: () => T): Promise<T> {
    await new Promise<void>((resolve) => {
      this.after(delayMs, resolve);
    });
    return work();
  }

  /** What this life may still see of a promise. */
  async seen<T>(promise: Promise<T>): Promise<T> {
    const value = await promise;
    return this.alive ? value : NEVER;
  }

  end(): void {
    this.alive = false;
  }
}

// A binary heap by time, then by the order in which events were made.
function before(a: Event, b: Event): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order);
}

function push(heap: Event[], event: Event): void {
  let at = heap.push(event) - 1;
  while (at > 0) {
    const parent = (at - 1) >> 1;
    if (!before(event, heap[parent] as Event)) break;
    heap[at] = heap[parent] as Event;
    at = parent;
  }
  heap[at] = event;
}

function pop(heap: Event[]): void {
  const last = heap.pop() as Event;
  if (heap.length === 0) return;
  let at = 0;
  for (;;) {
    let child = 2 * at + 1;
    if (child >= heap.length) break;
    if (child + 1 < heap.length && before(heap[child + 1] as Event, heap[child] as Event)) child++;
    if (!before(heap[child] as Event, last)) break;
    heap[at] = heap[child] as Event;
    at = child;
  }
  heap[at] = last;
}
