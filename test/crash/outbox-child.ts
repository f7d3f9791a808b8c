/**
 * Fills an outbox for ever, and says what it committed and what it sent; the test kills it at some moment. Arguments: the
 * file, and a seed.
 */
import { writeSync } from "node:fs";
import { unwrap } from "@bellwether/protocol/result.ts";
import { openOutbox } from "../../agent/src/buffer/outbox.io.ts";
import { ackOf, outboxOptions } from "../kit/outbox.ts";

const [, , file = "", seedText = "0"] = process.argv;
let state = Number(seedText) + 1;
const random = (below: number) => {
  state = (state * 48_271) % 2_147_483_647;
  return state % below;
};
const say = (...words: (string | number)[]) => void writeSync(1, `${words.join(" ")}\n`);

// Short of room, the rows are wide and the line is slow, so that records give way all the time.
const shortOfRoom = process.env["OUTBOX_MAX_BYTES"] !== undefined;
const maxBytes = Number(process.env["OUTBOX_MAX_BYTES"] ?? 64 * 1024 * 1024);
const noise = (at: number) =>
  Object.fromEntries(Array.from({ length: 30 }, (_, of) => [`c${of}`, Math.sin(at * 31 + of)]));
const outbox = unwrap(openOutbox(file, outboxOptions({ maxBytes, keepAckedMs: 60_000 })));
let next = Number(outbox.cursors()["made"] ?? 0);
say("opened", outbox.epoch, next);
for (;;) {
  const count = 1 + random(40);
  const rows = Array.from({ length: count }, (_, index) => ({
    asset: `pump-${(next + index) % 3}`,
    observedAtMs: next + index,
    values: { vib: Math.sin(next + index), load: next + index, ...(shortOfRoom ? noise(next + index) : {}) },
  }));
  next += count;
  outbox.append({ rows, cursor: { input: "made", value: next } });
  if (random(3) === 0) {
    unwrap(outbox.commit());
    say("committed", next);
  }
  if (random(shortOfRoom ? 12 : 4) === 0) {
    const chunks = outbox.nextChunks(1 + random(20_000));
    for (const chunk of chunks) say("sent", chunk.stream, Buffer.from(chunk.bytes).toString("base64"));
    const last = chunks.at(-1);
    if (last !== undefined && random(3) > 0) outbox.acked(ackOf(outbox.epoch, { [last.stream]: last.toSeq }));
  }
  if (!shortOfRoom && random(30) === 0) outbox.newEpoch();
  if (random(20) === 0) outbox.open();
}
