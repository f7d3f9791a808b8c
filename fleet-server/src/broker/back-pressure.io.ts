import type { Client } from "aedes";
import type { DeviceSender } from "./broker.io.ts";
import { confirm, keepAlive, pauseReading, resumeReading } from "./inside.io.ts";
import type { BrokerLimits } from "./limits.ts";
import { QuotaBucket } from "./quota.ts";

/** What a waiting message costs beside its payload: a flood of tiny ones must be held back as well. */
const MESSAGE_BYTES = 1_024;
/** How often clients that are not read are looked after: they are kept alive, and read again when their quota allows it. */
const LOOK_EVERY_MS = 1_000;

/** What of its quota a device has used up. */
export interface QuotaUse {
  readonly isPaused: boolean;
  readonly pauses: number;
}

/** A device's connection, and how much of what it sent waits for the store. */
export class Sender implements DeviceSender {
  readonly device: string;
  readonly site: string;
  readonly client: Client;
  readonly #pressure: BackPressure;
  waitingBytes = 0;
  isOverQuota = false;

  constructor(pressure: BackPressure, client: Client, device: string, site: string) {
    this.#pressure = pressure;
    this.client = client;
    this.device = device;
    this.site = site;
  }

  /** Counts a message against its client. */
  take(payloadBytes: number): void {
    this.#pressure.take(this, payloadBytes + MESSAGE_BYTES);
    this.#pressure.takeQuota(this, payloadBytes);
  }

  done(messages: number, payloadBytes: number): void {
    this.#pressure.done(this, payloadBytes + messages * MESSAGE_BYTES);
    // Behind what is being said to it, so that one write does for both.
    queueMicrotask(() => confirm(this.client));
  }
}

/**
 * Bytes of clients that wait for the store. Holding back an acknowledgement does not stop a sender: a client over its
 * share, or any client that sends while all of them together are over theirs, is not read until half of it is done.
 */
export class BackPressure {
  readonly #limits: BrokerLimits;
  readonly #monotonicMs: () => number;
  readonly #paused = new Set<Sender>();
  /** By device: a connection that begins anew brings no new quota. */
  readonly #quotas = new Map<string, { readonly bucket: QuotaBucket; pauses: number }>();
  #quotaPauses = 0;
  #total = 0;
  #full = false;
  #timer: NodeJS.Timeout | undefined;

  constructor(limits: BrokerLimits, monotonicMs: () => number) {
    this.#limits = limits;
    this.#monotonicMs = monotonicMs;
  }

  /** Bytes that wait, clients that are not read because of it or of their quota, and how often a quota was used up. */
  get figures() {
    let overQuota = 0;
    for (const { isOverQuota } of this.#paused) if (isOverQuota) overQuota++;
    return { bytes: this.#total, paused: this.#paused.size, overQuota, quotaPauses: this.#quotaPauses };
  }

  /** Whether a device has to wait for its quota now, and how often it had to. */
  quotaOf(device: string): QuotaUse {
    const own = this.#quotas.get(device);
    return own
      ? { isPaused: own.bucket.waitMs(this.#monotonicMs()) > 0, pauses: own.pauses }
      : { isPaused: false, pauses: 0 };
  }

  /** Counts a message against the quota of its device. */
  takeQuota(sender: Sender, payloadBytes: number): void {
    const { messagesPerMinute, bytesPerMinute } = this.#limits;
    if (messagesPerMinute === Number.POSITIVE_INFINITY && bytesPerMinute === Number.POSITIVE_INFINITY) return;
    const nowMs = this.#monotonicMs();
    const own = this.#quotas.get(sender.device) ?? { bucket: new QuotaBucket(this.#limits, nowMs), pauses: 0 };
    this.#quotas.set(sender.device, own);
    own.bucket.take(1, payloadBytes, nowMs);
    if (sender.isOverQuota || own.bucket.waitMs(nowMs) === 0) return;
    sender.isOverQuota = true;
    own.pauses++;
    this.#quotaPauses++;
    this.#pause(sender);
  }

  take(sender: Sender, bytes: number): void {
    sender.waitingBytes += bytes;
    this.#total += bytes;
    this.#full ||= this.#total > this.#limits.waitingBytesTotalMax;
    if (this.#full || sender.waitingBytes > this.#limits.waitingBytesMax) this.#pause(sender);
  }

  done(sender: Sender, bytes: number): void {
    sender.waitingBytes -= bytes;
    this.#total -= bytes;
    this.#resume(sender);
  }

  forget(sender: Sender): void {
    this.#paused.delete(sender);
  }

  close(): void {
    clearInterval(this.#timer);
    this.#paused.clear();
  }

  #pause(sender: Sender): void {
    if (this.#paused.has(sender)) return;
    this.#paused.add(sender);
    pauseReading(sender.client);
    this.#timer ??= setInterval(() => this.#look(), LOOK_EVERY_MS).unref();
  }

  #look(): void {
    const nowMs = this.#monotonicMs();
    for (const sender of [...this.#paused]) {
      keepAlive(sender.client);
      const own = this.#quotas.get(sender.device);
      if (!sender.isOverQuota || own === undefined || own.bucket.waitMs(nowMs) > 0) continue;
      sender.isOverQuota = false;
      this.#resume(sender);
    }
  }

  #resume(sender: Sender): void {
    let senders: Iterable<Sender> = [sender];
    if (this.#full) {
      if (this.#total > this.#limits.waitingBytesTotalMax / 2) return;
      // There is room again, also for those that were paused with nothing of their own waiting.
      this.#full = false;
      senders = [...this.#paused];
    }
    for (const one of senders) {
      if (!this.#paused.has(one) || one.isOverQuota || one.waitingBytes > this.#limits.waitingBytesMax / 2) continue;
      this.#paused.delete(one);
      resumeReading(one.client);
    }
    if (this.#paused.size === 0) {
      clearInterval(this.#timer);
      this.#timer = undefined;
    }
  }
}
