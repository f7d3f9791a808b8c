import type { ChannelBirth } from "./messages/device.ts";

/** Decimals with which the files give each column after unit and cycle: three operating settings, 21 sensors. */
const DECIMALS = [4, 4, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 4, 2, 0, 0, 2, 2, 4] as const;

/**
 * The columns of NASA's C-MAPSS text files after unit and cycle: three operating settings and 21 sensors. A channel's
 * resolution is that of its published decimals, which keeps the values exactly and costs no digits on the line.
 * Source: A. Saxena, K. Goebel, D. Simon, N. Eklund, "Damage Propagation Modeling for Aircraft Engine Run-to-Failure
 * Simulation", PHM 2008.
 */
export const CMAPSS_CHANNELS: readonly Required<Pick<ChannelBirth, "channel" | "unit" | "resolution">>[] = DECIMALS.map(
  (decimals, i) => ({ channel: i < 3 ? `setting_${i + 1}` : `s${i - 2}`, unit: "1", resolution: 1 / 10 ** decimals }),
);

/** One line of such a file. */
export interface CmapssRow {
  readonly unit: number;
  readonly cycle: number;
  /** In the order of CMAPSS_CHANNELS. */
  readonly values: readonly number[];
}

const NUMBER = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d{1,3})?$/i;

/** Reads one line; a text that says what is wrong with it otherwise. */
export function parseCmapssLine(line: string): CmapssRow | string {
  const cells = line.trim().split(/\s+/);
  const expected = CMAPSS_CHANNELS.length + 2;
  if (cells.length !== expected) return `${cells.length} columns instead of ${expected}`;
  const wrong = cells.findIndex((cell) => !NUMBER.test(cell));
  if (wrong >= 0) return `column ${wrong + 1} is "${cells[wrong]!.slice(0, 40)}", not a number`;
  const [unit = 0, cycle = 0, ...values] = cells.map(Number);
  if (!Number.isSafeInteger(unit) || unit < 1) return `unit ${cells[0]} is not a positive integer`;
  if (!Number.isSafeInteger(cycle) || cycle < 1) return `cycle ${cells[1]} is not a positive integer`;
  return { unit, cycle, values };
}
