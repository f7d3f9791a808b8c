import type { Row } from "./checker.ts";

/** A row with what nobody on the wire knows: how many rows its asset still lives. */
export interface TrueRow extends Row {
  readonly rul: number;
}

/** One agent's share of a plant. */
export interface AgentShare {
  readonly device: string;
  readonly cohort: "A" | "B";
  readonly assets: readonly string[];
  /** Its configuration as YAML, producing `rows` rows an asset and no more. */
  config(rows: number): string;
  /** The rows it produces when each asset gives `rows` rows, made again from the seed or the file alone. */
  expected(rows: number): Promise<TrueRow[]>;
}

/** What the story needs of a plant: a past to learn from, and agents that watch the present. */
export interface Plant {
  readonly title: string;
  /** What the model is called, and what its target is capped at. */
  readonly model: string;
  readonly cap: number;
  /** Writes the run-to-failure past below `folder` and answers the import's arguments. */
  history(folder: string): Promise<{ readonly importArguments: string[]; readonly assets: string[] }>;
  /** The same past as rows with their targets, for models that are to be worthless. */
  historyRows(): Promise<TrueRow[]>;
  readonly agents: readonly AgentShare[];
  /** How fast an asset gives rows while models are rolled out. */
  readonly rowsPerSecond: number;
}

/** Remaining life as the models are trained on it. */
export function cappedRul(row: TrueRow, cap: number): number {
  return Math.min(row.rul, cap);
}

/** Parses CSV without quotes into records by header: what the public commands write. */
export function parseCsv(text: string): Record<string, string>[] {
  const [header = "", ...lines] = text.trim().split("\n");
  const names = header.split(",");
  return lines.map((line) => Object.fromEntries(line.split(",").map((cell, index) => [names[index] as string, cell])));
}

/** Writes rows as CSV with a target column: the format of `history import`. */
export function toCsv(rows: readonly Row[], targets: readonly number[]): string {
  const channels = Object.keys(rows[0]?.values ?? {});
  const lines = rows.map((row, index) =>
    [
      row.asset,
      new Date(row.observedAtMs).toISOString(),
      ...channels.map((channel) => row.values[channel] ?? ""),
      targets[index],
    ].join(","),
  );
  return `${["asset", "time", ...channels, "target"].join(",")}\n${lines.join("\n")}\n`;
}
