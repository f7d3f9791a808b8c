/**
 * Fills an outbox on a disk that has no room left (a file size limit set by whoever started this), without stopping for
 * it. Says what was committed, each trouble once, and how it ended. Arguments: the file, and how many rounds.
 */
import { writeSync } from "node:fs";
import { unwrap } from "@bellwether/protocol/result.ts";
import { openOutbox } from "../../agent/src/buffer/outbox.io.ts";
import { outboxOptions } from "../kit/outbox.ts";

const [, , file = "", rounds = "0"] = process.argv;
const say = (...words: (string | number)[]) => void writeSync(1, `${words.join(" ")}\n`);
const noticed = ({ code }: { code: string }) => say("noticed", code);
const outbox = unwrap(openOutbox(file, outboxOptions({ noticed })));
let next = Number(outbox.cursors()["made"] ?? 0);
for (let round = 0; round < Number(rounds); round++) {
  const rows = Array.from({ length: 50 }, () => {
    const at = next++;
    const noise = Array.from({ length: 30 }, (_, of) => [`c${of}`, Math.sin(at * 31 + of)]);
    return { asset: "pump-1", observedAtMs: at, values: Object.fromEntries(noise) };
  });
  outbox.append({ rows, cursor: { input: "made", value: next } });
  if (outbox.commit().ok) say("committed", next);
}
say("alive", outbox.stats().phase, next, outbox.stats().pending);
outbox.close();
