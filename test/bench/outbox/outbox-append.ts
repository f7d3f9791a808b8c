import type { Bench } from "../bench.ts";
import { figureOf } from "../child.io.ts";
import { GROUP_ROWS } from "./rows.ts";

const BASELINE = "outbox/log.ts";

/** What it costs to make rows durable, with all an outbox must know of them. */
export const outboxAppend: Bench = {
  what: `rows a second of 24 channels made durable in the agent's outbox, ${GROUP_ROWS} in a commit (encoded, numbered, with the input's cursor, synchronous=FULL), the server acknowledging what is sent`,
  over: `a raw log: the bytes of ${GROUP_ROWS} rows as JSON lines, ready made, appended with one write and one fdatasync`,
  unit: "rows/s",
  goal: { of: "ratio", least: 0.7 },
  baselineFile: BASELINE,
  open: async () => ({
    value: () => figureOf("outbox/append.ts"),
    baseline: () => figureOf(BASELINE),
    close: async () => undefined,
  }),
};
