import type { Row } from "./checker.ts";

/** A row with what nobody on the wire knows: how many rows its asset still lives. */
export interface TrueRow extends Row {
  readonly rul: number;
}

/** Ways in which one cohort's process changes in the story; docs/SIMULATOR.md says what each does. */
export const CHANGES = ["offset", "gain", "fault"] as const;

/** A change of the process from a row on. */
export interface Change {
  readonly kind: (typeof CHANGES)[number];
  readonly fromRow: number;
}

/** One agent's share of a plant. */
export interface AgentShare {
  readonly device: string;
  readonly cohort: "A" | "B";
  readonly assets: readonly string[];
  /** Its input as the agent's configuration writes it: `rows` rows an asset and no more, at this speed. */
  input(rows: number, rowsPerSecond: number, change?: Change): Readonly<Record<string, unknown>>;
  /** The rows it produces when each asset gives `rows` rows, made again from the seed or the file alone. */
  expected(rows: number, change?: Change): Promise<TrueRow[]>;
}

/** What the story needs of a plant: a past to learn from, and agents that watch the present. */
export interface Plant {
  readonly title: string;
  /** What the model is called, and what its target is capped at. */
  readonly model: string;
  readonly cap: number;
  /** Units of its channels, where they have any. */
  readonly units: Readonly<Record<string, string>>;
  /** What training may say about features, and about how devices watch for drift. */
  readonly features: Readonly<Record<string, unknown>>;
  readonly drift?: Readonly<Record<string, unknown>>;
  /** Source time of row 0, and between rows. */
  readonly startMs: number;
  readonly stepMs: number;
  /** Whether a cohort's process can change in it. */
  readonly canChange: boolean;
  /** The assets of the past; none of them is watched by an agent. */
  readonly historyAssets: readonly string[];
  /** Run-to-failure rows of the past, by asset and time. */
  history(): Promise<TrueRow[]>;
  readonly agents: readonly AgentShare[];
  /** How fast an asset gives rows while models are rolled out. */
  readonly rowsPerSecond: number;
  /** How many rows an asset can give at all. */
  readonly rowsMax: number;
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

/** Writes rows as CSV, with a target column where there are targets: the format of `history import`. */
export function toCsv(rows: readonly Row[], targets: readonly number[] | undefined): string {
  const channels = Object.keys(rows[0]?.values ?? {});
  const lines = rows.map((row, index) =>
    [
      row.asset,
      new Date(row.observedAtMs).toISOString(),
      ...channels.map((channel) => row.values[channel] ?? ""),
      ...(targets === undefined ? [] : [targets[index]]),
    ].join(","),
  );
  return `${["asset", "time", ...channels, ...(targets === undefined ? [] : ["target"])].join(",")}\n${lines.join("\n")}\n`;
}
