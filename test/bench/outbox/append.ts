/** The agent's outbox with a commit after each group of rows: `node test/bench/outbox/append.ts` prints rows a second. */
import { join } from "node:path";
import { type AckMessage, STREAMS } from "@bellwether/protocol/messages/stream.ts";
import { unwrap } from "@bellwether/protocol/result.ts";
import { openOutbox } from "../../../agent/src/buffer/outbox.io.ts";
import { createClock } from "../../../agent/src/health/clock.io.ts";
import { RESOLUTION } from "../agent/model.ts";
import { measure } from "./rows.ts";

const SENT_BYTES = 1_000_000;

measure((folder) => {
  const outbox = unwrap(
    openOutbox(join(folder, "outbox.sqlite"), {
      maxBytes: 512 * 1_024 * 1_024,
      maxAgeMs: 90 * 86_400_000,
      keepAckedMs: 0,
      backfillBytesPerSecond: 1_048_576,
      commitMs: 250,
      resolutionOf: () => RESOLUTION,
      clock: createClock("bench"),
    }),
  );
  outbox.setOnline(true);
  let next = 0;
  return {
    append(rows) {
      next += rows.length;
      outbox.append({ rows, cursor: { input: "memory", value: { next } } });
      unwrap(outbox.commit());
      const { epoch } = outbox;
      const upTo = outbox.nextChunks(SENT_BYTES).at(-1)?.toSeq ?? 0;
      const streams = Object.fromEntries(STREAMS.map((stream) => [stream, { epoch, upTo: 0, also: [] }]));
      outbox.acked({ v: 1, streams: { ...streams, telemetry: { epoch, upTo, also: [] } } } satisfies AckMessage);
    },
    close: () => unwrap(outbox.close()),
  };
});
