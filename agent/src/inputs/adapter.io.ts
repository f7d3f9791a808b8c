import { problem } from "@bellwether/protocol/errors.ts";
import { ok, type Result } from "@bellwether/protocol/result.ts";
import type { PointConfig } from "../config/config.ts";
import type { AssetChannels, Emit, InputAdapter, InputContext, JsonValue } from "./input.ts";
import { birthOf } from "./row.ts";

/** An adapter around one loop: stopping aborts it and waits for its end; a throw in it is reported, not lost. */
export function loopAdapter(
  id: string,
  context: InputContext,
  declare: () => Promise<Result<readonly AssetChannels[]>>,
  run: (emit: Emit, signal: AbortSignal) => Promise<void>,
): InputAdapter {
  const stopping = new AbortController();
  let running: Promise<void> | undefined;
  return {
    declare,
    start(emit) {
      if (running !== undefined) throw new Error(`the input ${id} was started twice`);
      running = run(emit, stopping.signal).catch((cause: unknown) => {
        if (stopping.signal.aborted) return;
        context.onProblem(problem("INPUT_STOPPED", { input: id, reason: (cause as Error).message }));
      });
    },
    async stop() {
      stopping.abort();
      await running;
    },
  };
}

/** What points that name their assets declare. */
export async function declaredOf(
  points: readonly (PointConfig & { readonly asset: string })[],
): Promise<Result<readonly AssetChannels[]>> {
  const byAsset = Map.groupBy(points, ({ asset }) => asset);
  return ok([...byAsset].map(([asset, own]) => ({ asset, channels: own.map(birthOf) })));
}

/** A non-negative integer member of a cursor; undefined where the cursor is none of ours. */
export function cursorNumber(cursor: JsonValue | undefined, member: string): number | undefined {
  if (typeof cursor !== "object" || cursor === null || Array.isArray(cursor)) return undefined;
  const value = (cursor as Readonly<Record<string, JsonValue>>)[member];
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0 ? value : undefined;
}

/** Reports the first of each kind of problem, and again only after `again` others: a bad sensor must not flood the log. */
export function sparing(report: InputContext["onProblem"], again = 10_000): InputContext["onProblem"] {
  const seen = new Map<string, number>();
  return (fault) => {
    const { input, file, topic, channel } = fault.detail;
    const kind = [fault.code, input, file, topic, channel].join("|");
    const count = seen.get(kind) ?? 0;
    if (seen.size < 10_000 || seen.has(kind)) seen.set(kind, count + 1);
    if (count % again === 0) report(fault);
  };
}
