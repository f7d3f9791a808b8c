import { setTimeout as wait } from "node:timers/promises";
import { until } from "./api.io.ts";
import { type Count, compareRows, type Row } from "./checker.ts";
import type { Fleet } from "./fleet.io.ts";
import type { Change, Plant, TrueRow } from "./plant.ts";

/** Devices whose process changes, and how. */
export type Changes = ReadonlyMap<string, Change>;

/** Longer than a batch may be under way: what would come twice has come by then. */
const STRAGGLERS_MS = 2_000;
/** Rows that every asset still gives at the end of the story, and how fast. */
const LAST_ROWS = 10;
const LAST_ROWS_PER_SECOND = 16;

/** Lets each asset of all agents go on to a row, at a speed. */
export async function goOn(fleet: Fleet, rows: number, rowsPerSecond: number, changes: Changes): Promise<void> {
  await stopAll(fleet);
  await Promise.all(
    fleet.agents.map((agent) => fleet.startAgent(agent, rows, rowsPerSecond, changes.get(agent.share.device))),
  );
}

async function stopAll(fleet: Fleet): Promise<void> {
  await Promise.all(fleet.agents.map((agent) => agent.running?.stop()));
}

/** Stops all agents, so that none runs ahead of what is counted: the most rows any asset has at the server then. */
export async function rowsAtRest(fleet: Fleet): Promise<number> {
  await stopAll(fleet);
  const counts = new Map<string, number>();
  for (const { asset } of await exported(fleet)) counts.set(asset, (counts.get(asset) ?? 0) + 1);
  return Math.max(0, ...counts.values());
}

/** Every row the plant makes when each asset gives `rows` rows, made again. */
export async function expectedRows(plant: Plant, rows: number, changes: Changes): Promise<TrueRow[]> {
  return (await Promise.all(plant.agents.map((agent) => agent.expected(rows, changes.get(agent.device))))).flat();
}

/** Resolves when each of these assets has reached a row at the server. */
export async function reached(fleet: Fleet, plant: Plant, assets: Iterable<string>, row: number): Promise<void> {
  const fromMs = plant.startMs + row * plant.stepMs;
  const waiting = new Set(assets);
  await until(
    `every asset has reached row ${row}`,
    async () => {
      for (const asset of waiting) {
        const newer = fleet.api.lines(`/v1/samples?format=ndjson&asset=${asset}&fromMs=${fromMs}`);
        if ((await Array.fromAsync(newer)).length > 0) waiting.delete(asset);
      }
      return waiting.size === 0 ? true : undefined;
    },
    120_000,
  );
}

/** Waits until as many rows have arrived as the plant makes, and a little longer; then compares them, value by value. */
export async function countRows(fleet: Fleet, plant: Plant, rows: number, changes: Changes): Promise<Count> {
  const expected = await expectedRows(plant, rows, changes);
  for (const [asset, own] of Map.groupBy(expected, (row) => row.asset)) {
    await reached(fleet, plant, [asset], own.length - 1);
  }
  await until(
    `all ${expected.length} rows have arrived`,
    async () => ((await exported(fleet)).length >= expected.length ? true : undefined),
    60_000,
  ).catch(() => undefined); // what is missing is counted
  await wait(STRAGGLERS_MS);
  return compareRows(expected, await exported(fleet));
}

/** Counts the whole story, once every asset has gone on to one last row. */
export async function countAll(fleet: Fleet, plant: Plant, changes: Changes): Promise<Count> {
  const rows = Math.min(plant.rowsMax, (await rowsAtRest(fleet)) + LAST_ROWS);
  await goOn(fleet, rows, LAST_ROWS_PER_SECOND, changes);
  return countRows(fleet, plant, rows, changes);
}

function exported(fleet: Fleet): Promise<Row[]> {
  return Array.fromAsync(fleet.api.lines<Row>("/v1/samples?format=ndjson"));
}
