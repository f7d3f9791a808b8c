import { topicMatches } from "@bellwether/protocol/topics.ts";
import type { Client } from "aedes";
import { type Outgoing, publishPacket } from "./outgoing.io.ts";

/** One SUBSCRIBE of an account: what is retained below its filters is to be given to it. */
export interface NewSubscription {
  readonly sites: readonly string[];
  matches(topic: string): boolean;
  /** Sends as retained, at the subscriber's own speed; false when it has gone. */
  give(topic: string, payload: Uint8Array): Promise<boolean>;
}

interface Subscriber {
  readonly client: Client;
  readonly sites: readonly string[];
  readonly filters: Set<string>;
  /** Granted, and what is retained below them is still to be given. */
  fresh: string[];
  /** Topics that were sent live while what is retained is being read: the older word must not come after. */
  sentLive: Set<string> | undefined;
}

/** Topics whose listeners are remembered: there are a few for each asset. */
const TOPICS_MAX = 50_000;

/** Who listens to the feed. Only direct sends: nothing of the feed goes through the broker's own routing. */
export class Subscribers {
  readonly #subscribers = new Map<Client, Subscriber>();
  /** By topic, until anybody's filters change. */
  readonly #listeners = new Map<string, readonly Subscriber[]>();
  /** Filters being granted: one SUBSCRIBE may hold hundreds. */
  readonly #granting = new WeakMap<Client, Set<string>>();
  readonly #outgoing: Outgoing;
  readonly #filtersMax: number;
  readonly #welcome: (subscription: NewSubscription) => Promise<void>;
  readonly #report: (problem: string, detail: unknown) => void;

  constructor(
    outgoing: Outgoing,
    filtersMax: number,
    welcome: (subscription: NewSubscription) => Promise<void>,
    report: (problem: string, detail: unknown) => void,
  ) {
    this.#outgoing = outgoing;
    this.#filtersMax = filtersMax;
    this.#welcome = welcome;
    this.#report = report;
  }

  get size(): number {
    return this.#subscribers.size;
  }

  /** Whether a client may have one filter more; counts it from now on. */
  mayAdd(client: Client, filter: string): boolean {
    const granting = this.#granting.get(client) ?? new Set();
    this.#granting.set(client, granting);
    if (!granting.has(filter) && granting.size >= this.#filtersMax) return false;
    granting.add(filter);
    return true;
  }

  add(client: Client, sites: readonly string[], filters: readonly string[]): void {
    const known = this.#subscribers.get(client);
    const subscriber = known ?? { client, sites, filters: new Set(), fresh: [], sentLive: undefined };
    this.#subscribers.set(client, subscriber);
    this.#listeners.clear();
    for (const filter of filters) subscriber.filters.add(filter);
    const idle = subscriber.fresh.length === 0 && subscriber.sentLive === undefined;
    subscriber.fresh.push(...filters);
    if (idle) void this.#giveRetained(subscriber);
  }

  remove(client: Client, filters?: readonly string[]): void {
    const subscriber = this.#subscribers.get(client);
    if (subscriber) this.#listeners.clear();
    for (const filter of filters ?? []) {
      subscriber?.filters.delete(filter);
      this.#granting.get(client)?.delete(filter);
    }
    if (filters === undefined || subscriber?.filters.size === 0) this.#subscribers.delete(client);
  }

  /** Whether anybody listens to a topic. */
  wants(topic: string): boolean {
    return this.#listenersOf(topic).length > 0;
  }

  /** Sends to everyone who listens; one with too much on its way already misses it, and that is counted. */
  send(topic: string, payload: () => Uint8Array): void {
    const listeners = this.#listenersOf(topic);
    if (listeners.length === 0) return;
    // MQTT-3.3.1-9: to those who listened already it is no retained message but news.
    const packet = publishPacket(topic, payload(), false);
    for (const { sentLive, client } of listeners) {
      sentLive?.add(topic);
      this.#outgoing.send(client, packet);
    }
  }

  #listenersOf(topic: string): readonly Subscriber[] {
    const known = this.#listeners.get(topic);
    if (known !== undefined) return known;
    if (this.#listeners.size >= TOPICS_MAX) this.#listeners.clear();
    const found = [...this.#subscribers.values()].filter((subscriber) => listens(subscriber, topic));
    this.#listeners.set(topic, found);
    return found;
  }

  /** One reading after the other: an account that subscribes in a loop makes no more work than one. */
  async #giveRetained(subscriber: Subscriber): Promise<void> {
    const { client, sites } = subscriber;
    const here = () => this.#subscribers.get(client) === subscriber;
    while (subscriber.fresh.length > 0 && here()) {
      const filters = subscriber.fresh.splice(0);
      const sentLive = new Set<string>();
      subscriber.sentLive = sentLive;
      const give = async (topic: string, payload: Uint8Array) => {
        if (!(await this.#outgoing.room(client)) || !here()) return false;
        if (!sentLive.has(topic)) this.#outgoing.send(client, publishPacket(topic, payload, true));
        return true;
      };
      const matches = (topic: string) => filters.some((filter) => topicMatches(filter, topic));
      await this.#welcome({ sites, matches, give }).catch((cause) => this.#report("feed", cause));
    }
    subscriber.sentLive = undefined;
  }
}

function listens({ filters }: Subscriber, topic: string): boolean {
  for (const filter of filters) if (topicMatches(filter, topic)) return true;
  return false;
}
