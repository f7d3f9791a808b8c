import type { SimulatorInputConfig } from "../../config/config.ts";
import { SIGNALS } from "../../config/signals.ts";
import { cursorNumber, declaredOf, loopAdapter } from "../adapter.io.ts";
import type { InputAdapter, InputContext } from "../input.ts";
import { pump } from "../pace.io.ts";
import { Simulator } from "./simulator.ts";

/** A portion of about this many rows takes no more ticks. */
const PORTION_ROWS_MAX = 512;

/** Simulated machines at their pace; the cursor is the next index, so nothing is made twice or left out. */
export function createSimulatorInput(config: SimulatorInputConfig, context: InputContext): InputAdapter {
  return loopAdapter(
    config.id,
    context,
    () => declaredOf(config.points),
    async (emit, signal) => {
      const simulator = new Simulator(config, SIGNALS);
      const rowsEnd = config.rows === undefined ? Number.POSITIVE_INFINITY : config.from + config.rows;
      const end = config.startMs === undefined ? rowsEnd : Math.min(rowsEnd, simulator.timeEnd);
      let index = Math.max(config.from, cursorNumber(context.cursor, "next") ?? 0);
      const next = (ticksMax: number) => {
        if (index >= end) return undefined;
        const ticksFit = Math.max(1, Math.floor(PORTION_ROWS_MAX / config.assets.length));
        const to = Math.min(end, index + Math.min(ticksMax, ticksFit));
        const rows = [];
        for (let i = index; i < to; i += 1) {
          const observedAtMs = config.startMs === undefined ? context.nowMs() : simulator.timeAt(i);
          for (const asset of config.assets) rows.push(simulator.row(asset, i, observedAtMs));
        }
        const ticks = to - index;
        index = to;
        return { rows, ticks, cursor: { next: to } };
      };
      if ((await pump(config.rowsPerSecond, signal, next, emit)) === "ended") context.onEnd?.();
    },
  );
}
