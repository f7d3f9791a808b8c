import type { Stream } from "@bellwether/protocol/messages/stream.ts";
import type { SeqRange } from "./eviction.ts";

/** Backfill that may be on its way while nothing is known of the line, and at most. */
const WINDOW_FIRST_BYTES = 65_536;
const WINDOW_MAX_BYTES = 262_144;
/** An answer within the first time lets the window grow, one after the second halves it. */
const PROMPT_MS = 1_000;
const SLOW_MS = 2_000;
/** A burst after a pause: this much time's worth of the rate. */
const BURST_MS = 1_000;

interface OnItsWay extends SeqRange {
  readonly stream: Stream;
  readonly bytes: number;
  readonly sentAtMs: number;
}

/**
 * How much backfill may be sent: at most a rate, by a bucket of tokens, and on a slow line no more than it carries in about a
 * second, by a window that grows with prompt acknowledgements and halves with late ones (as TCP's does, RFC 5681). So a
 * live record never waits behind more than a chunk or a second's worth of old ones. Times are monotonic, in ms.
 */
export class BackfillPace {
  readonly #bytesPerMs: number;
  readonly #burstBytes: number;
  #tokens: number;
  #filledAtMs: number | undefined;
  #window = WINDOW_FIRST_BYTES;
  #onItsWay: OnItsWay[] = [];

  constructor(bytesPerSecond: number) {
    this.#bytesPerMs = bytesPerSecond / 1_000;
    this.#burstBytes = this.#bytesPerMs * BURST_MS;
    this.#tokens = this.#burstBytes;
  }

  /** Bytes that may be sent now; a chunk that is longer may go where anything may. */
  roomBytes(nowMs: number): number {
    const passedMs = Math.max(0, nowMs - (this.#filledAtMs ?? nowMs));
    this.#filledAtMs = nowMs;
    this.#tokens = Math.min(this.#burstBytes, this.#tokens + passedMs * this.#bytesPerMs);
    const window = this.#window - this.#onItsWay.reduce((sum, { bytes }) => sum + bytes, 0);
    return Math.max(0, Math.min(this.#tokens, window));
  }

  /** When tokens will be there again; undefined while it is acknowledgements that are missing. */
  get waitMs(): number | undefined {
    return this.#tokens > 0 ? undefined : Math.ceil((1 - this.#tokens) / this.#bytesPerMs);
  }

  sent(stream: Stream, { fromSeq, toSeq }: SeqRange, bytes: number, nowMs: number): void {
    this.#tokens -= bytes;
    this.#onItsWay.push({ stream, fromSeq, toSeq, bytes, sentAtMs: nowMs });
  }

  /** Takes out what the server has. */
  acked(has: (stream: Stream, range: SeqRange) => boolean, nowMs: number): void {
    this.#onItsWay = this.#onItsWay.filter((chunk) => {
      if (!has(chunk.stream, chunk)) return true;
      const tookMs = nowMs - chunk.sentAtMs;
      if (tookMs <= PROMPT_MS) this.#window = Math.min(WINDOW_MAX_BYTES, this.#window + chunk.bytes);
      else if (tookMs > SLOW_MS) this.#window = Math.max(1, this.#window / 2);
      return false;
    });
  }

  /** A session opens: nothing is on its way. */
  restart(): void {
    this.#onItsWay = [];
    this.#window = WINDOW_FIRST_BYTES;
  }
}
