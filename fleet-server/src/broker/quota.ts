const MINUTE_MS = 60_000;

/** What one device may send in a minute; infinite: any amount. */
export interface Quota {
  readonly messagesPerMinute: number;
  readonly bytesPerMinute: number;
}

/**
 * What is left of a device's quota. It holds a minute's worth and fills evenly, so that a device that was silent may
 * send a minute's worth at once; what is taken beyond is owed.
 */
export class QuotaBucket {
  readonly #quota: Quota;
  #messages: number;
  #bytes: number;
  #filledAtMs: number;

  constructor(quota: Quota, nowMs: number) {
    this.#quota = quota;
    this.#messages = quota.messagesPerMinute;
    this.#bytes = quota.bytesPerMinute;
    this.#filledAtMs = nowMs;
  }

  take(messages: number, bytes: number, nowMs: number): void {
    this.#fill(nowMs);
    this.#messages -= messages;
    this.#bytes -= bytes;
  }

  /** Milliseconds until nothing is owed any more; 0 where nothing is. */
  waitMs(nowMs: number): number {
    this.#fill(nowMs);
    const { messagesPerMinute, bytesPerMinute } = this.#quota;
    return Math.max(owedMs(this.#messages, messagesPerMinute), owedMs(this.#bytes, bytesPerMinute));
  }

  #fill(nowMs: number): void {
    const { messagesPerMinute, bytesPerMinute } = this.#quota;
    const minutes = Math.max(0, nowMs - this.#filledAtMs) / MINUTE_MS;
    this.#filledAtMs = nowMs;
    this.#messages = filled(this.#messages, messagesPerMinute, minutes);
    this.#bytes = filled(this.#bytes, bytesPerMinute, minutes);
  }
}

/** An infinite quota stays infinite: infinity times nothing is no number. */
function filled(left: number, perMinute: number, minutes: number): number {
  return Number.isFinite(perMinute) ? Math.min(perMinute, left + minutes * perMinute) : perMinute;
}

function owedMs(left: number, perMinute: number): number {
  return left < 0 ? (MINUTE_MS * -left) / perMinute : 0;
}
