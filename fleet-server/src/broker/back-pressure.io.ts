import type { Client } from "aedes";
import { keepAlive, pauseReading, resumeReading } from "./inside.io.ts";
import type { BrokerLimits } from "./limits.ts";

/** What a waiting message costs beside its payload: a flood of tiny ones must be held back as well. */
const MESSAGE_BYTES = 1_024;
const KEEP_ALIVE_EVERY_MS = 1_000;

/**
 * Bytes of clients that wait for the store. Holding back an acknowledgement does not stop a sender: a client over its
 * share, or any client that sends while all of them together are over theirs, is not read until half of it is done.
 */
export class BackPressure {
  readonly #limits: BrokerLimits;
  readonly #waiting = new WeakMap<Client, number>();
  readonly #paused = new Set<Client>();
  #total = 0;
  #full = false;
  #timer: NodeJS.Timeout | undefined;

  constructor(limits: BrokerLimits) {
    this.#limits = limits;
  }

  /** Bytes that wait, and clients that are not read because of it. */
  get figures(): { readonly bytes: number; readonly paused: number } {
    return { bytes: this.#total, paused: this.#paused.size };
  }

  /** Counts a message against its client; the answer takes it off again, once. */
  take(client: Client, payloadBytes: number): () => void {
    const bytes = payloadBytes + MESSAGE_BYTES;
    const own = (this.#waiting.get(client) ?? 0) + bytes;
    this.#waiting.set(client, own);
    this.#total += bytes;
    this.#full ||= this.#total > this.#limits.waitingBytesTotalMax;
    if (this.#full || own > this.#limits.waitingBytesMax) this.#pause(client);
    let open = true;
    return () => {
      if (!open) return;
      open = false;
      this.#waiting.set(client, (this.#waiting.get(client) ?? 0) - bytes);
      this.#total -= bytes;
      this.#resume(client);
    };
  }

  forget(client: Client): void {
    this.#paused.delete(client);
  }

  close(): void {
    clearInterval(this.#timer);
    this.#paused.clear();
  }

  #pause(client: Client): void {
    if (this.#paused.has(client)) return;
    this.#paused.add(client);
    pauseReading(client);
    this.#timer ??= setInterval(() => {
      for (const paused of this.#paused) keepAlive(paused);
    }, KEEP_ALIVE_EVERY_MS).unref();
  }

  #resume(client: Client): void {
    let clients: Iterable<Client> = [client];
    if (this.#full) {
      if (this.#total > this.#limits.waitingBytesTotalMax / 2) return;
      // There is room again, also for those that were paused with nothing of their own waiting.
      this.#full = false;
      clients = [...this.#paused];
    }
    for (const one of clients) {
      if (!this.#paused.has(one) || (this.#waiting.get(one) ?? 0) > this.#limits.waitingBytesMax / 2) continue;
      this.#paused.delete(one);
      resumeReading(one);
    }
    if (this.#paused.size === 0) {
      clearInterval(this.#timer);
      this.#timer = undefined;
    }
  }
}
