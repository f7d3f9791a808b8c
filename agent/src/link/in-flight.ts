import type { AckMessage } from "@bellwether/protocol/messages/stream.ts";
import type { OutboxChunk } from "../buffer/outbox.ts";

/** A chunk costs at least this much of the cap: many small ones keep the server's commit as busy as a few large ones. */
const CHUNK_COST_MIN = 4_096;

interface Sent {
  readonly chunk: OutboxChunk;
  sentAtMs: number;
  times: number;
}

/** What to do about chunks that were not acknowledged in time. */
export interface Overdue {
  /** Sent once without an answer: the acknowledgement may have been dropped. */
  readonly again: readonly OutboxChunk[];
  /** Sent twice without an answer: the other side is not there. */
  readonly stuck: boolean;
}

/** Chunks that were sent in this session and that the server has not acknowledged. */
export class InFlight {
  readonly #sent = new Map<string, Sent>();
  #cost = 0;

  get chunks(): number {
    return this.#sent.size;
  }

  /** How much of a cap is left, in bytes. */
  room(capBytes: number): number {
    return capBytes - this.#cost;
  }

  add(chunk: OutboxChunk, nowMs: number): void {
    const key = keyOf(chunk);
    if (this.#sent.has(key)) return;
    this.#sent.set(key, { chunk, sentAtMs: nowMs, times: 1 });
    this.#cost += costOf(chunk);
  }

  /** Forgets what the server has; answers how many chunks that were. */
  acked(ack: AckMessage, epoch: string): number {
    let count = 0;
    for (const [key, { chunk }] of this.#sent) {
      const said = ack.streams[chunk.stream];
      if (said?.epoch !== epoch) continue;
      const has =
        chunk.toSeq <= said.upTo || said.also.some(([from, to]) => from <= chunk.fromSeq && chunk.toSeq <= to);
      if (!has) continue;
      this.#sent.delete(key);
      this.#cost -= costOf(chunk);
      count++;
    }
    return count;
  }

  /** Chunks older than `timeoutMs`; those to be sent again count as sent now. */
  overdue(nowMs: number, timeoutMs: number): Overdue {
    const late = [...this.#sent.values()].filter(({ sentAtMs }) => nowMs - sentAtMs >= timeoutMs);
    if (late.some(({ times }) => times > 1)) return { again: [], stuck: true };
    for (const sent of late) {
      sent.times++;
      sent.sentAtMs = nowMs;
    }
    return { again: late.map(({ chunk }) => chunk), stuck: false };
  }

  clear(): void {
    this.#sent.clear();
    this.#cost = 0;
  }
}

function keyOf({ stream, fromSeq }: OutboxChunk): string {
  return `${stream}/${fromSeq}`;
}

function costOf({ bytes }: OutboxChunk): number {
  return Math.max(bytes.length, CHUNK_COST_MIN);
}
