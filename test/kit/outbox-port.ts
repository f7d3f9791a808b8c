import type { Outbox, OutboxChunk } from "../../agent/src/buffer/outbox.ts";
import type { OutboxPort } from "../../agent/src/link/ports.ts";

/** An outbox as a link sees it, without a thread between. */
export function portOf(outbox: () => Outbox, onEpoch: () => void): OutboxPort & { sendable(): void } {
  let take: { maxBytes: number; settle(chunks: readonly OutboxChunk[]): void } | undefined;
  const answer = () => {
    const chunks = take === undefined ? [] : outbox().nextChunks(take.maxBytes);
    if (chunks.length === 0) return;
    take?.settle(chunks);
    take = undefined;
  };
  const forget = () => {
    take?.settle([]);
    take = undefined;
  };
  return {
    sendable: answer,
    async open() {
      forget();
      return outbox().open();
    },
    take(maxBytes) {
      forget();
      return new Promise((settle) => {
        take = { maxBytes, settle };
        answer();
      });
    },
    ack(ack) {
      if (outbox().acked(ack).newEpoch) onEpoch();
      answer();
    },
    setOnline: (online) => outbox().setOnline(online),
  };
}
