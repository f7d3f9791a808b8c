import { isName } from "@bellwether/protocol/ids.ts";
import { err, ok, type Result } from "@bellwether/protocol/result.ts";
import { nearest } from "@bellwether/protocol/text.ts";
import { parseUnit } from "@bellwether/protocol/units.ts";

/** A column that holds a channel; without a declared unit it counts as a plain number, and the report says so. */
export interface ChannelColumn {
  readonly index: number;
  readonly column: string;
  readonly channel: string;
  readonly unit: string;
  readonly unitDeclared: boolean;
}

/** Which column of a samples file is what. */
export interface SampleColumns {
  /** -1 where the file is of one asset. */
  readonly asset: number;
  readonly time: number;
  /** -1 without one. */
  readonly target: number;
  readonly targetName: string | undefined;
  readonly channels: readonly ChannelColumn[];
  readonly left: readonly string[];
}

/** What the user says about the columns of a file. */
export interface ColumnOptions {
  /** The one asset of a file that has no column for it. */
  readonly asset?: string;
  readonly assetColumn?: string;
  readonly timeColumn?: string;
  readonly targetColumn?: string;
  /** Columns to leave out. */
  readonly ignore: readonly string[];
  /** Unit by channel or column; overrides what the header says. */
  readonly units: Readonly<Record<string, string>>;
}

const ASSET_NAMES = ["asset", "unit", "machine", "engine", "device", "equipment", "machine_id", "asset_id", "unit_id"];
const TIME_NAMES = ["time", "timestamp", "datetime", "date", "ts", "observed_at", "observedAt", "cycle"];
/** Channels of one history: as many as a manifest may name. */
export const CHANNELS_MAX = 1_024;

/** "vibration [mm/s]" in its two parts. */
export function splitHeader(text: string): { readonly name: string; readonly unit: string | undefined } {
  const match = /^(.*?)\s*\[(.*)\]$/s.exec(text.trim());
  return match === null ? { name: text.trim(), unit: undefined } : { name: match[1]!.trim(), unit: match[2]!.trim() };
}

/** A channel's name out of a column's: what a name may not hold becomes "_". */
export function channelName(column: string): string {
  return column
    .normalize("NFKD")
    .replace(/[^A-Za-z0-9._-]+/g, "_")
    .replace(/^[._-]+|_+$/g, "")
    .slice(0, 64);
}

/** Finds the columns of a samples file; `unitsRow` is its second line where the file has one for units. */
export function sampleColumns(
  file: string,
  header: readonly string[],
  unitsRow: readonly string[] | undefined,
  options: ColumnOptions,
): Result<SampleColumns> {
  const parts = header.map(splitHeader);
  const names = parts.map(({ name }) => name);
  const twice = names.find((name, i) => name !== "" && names.indexOf(name) !== i);
  if (twice !== undefined) return err("HISTORY_COLUMN_WRONG", { column: twice, file, reason: "it stands there twice" });
  const keys = assetAndTime(file, names, options);
  if (!keys.ok) return keys;
  const { asset, time } = keys.value;
  const target = options.targetColumn === undefined ? ok(-1) : find(file, names, options.targetColumn, [], "target");
  if (!target.ok) return target;
  const taken = new Set([asset, time, target.value]);
  if (target.value >= 0 && (target.value === asset || target.value === time)) {
    return err("HISTORY_COLUMN_WRONG", { column: options.targetColumn, file, reason: "it is the asset or the time" });
  }
  for (const column of options.ignore) {
    const at = find(file, names, column, [], "ignored");
    if (!at.ok) return at;
    taken.add(at.value);
  }
  const channels: ChannelColumn[] = [];
  for (const [index, column] of names.entries()) {
    // Some programs end every line with a separator; a column without a name has nothing to say.
    if (taken.has(index) || column === "") continue;
    const made = channelColumn(file, index, column, parts[index]!.unit ?? unitsRow?.[index]?.trim(), options.units);
    if (!made.ok) return made;
    const same = channels.find(({ channel }) => channel === made.value.channel);
    if (same !== undefined) {
      return err("HISTORY_COLUMN_WRONG", { column, file, reason: `it and "${same.column}" are both ${same.channel}` });
    }
    channels.push(made.value);
  }
  const unknown = unknownUnit(options.units, channels);
  if (unknown !== undefined) return columnMissing(file, unknown, names);
  if (channels.length === 0) return err("HISTORY_EMPTY", { file, what: "no channel beside asset and time" });
  return ok({
    asset,
    time,
    target: target.value,
    targetName: options.targetColumn,
    channels,
    left: [...options.ignore],
  });
}

/** Where asset and time stand: by the given names, or by those people usually write. */
export function assetAndTime(
  file: string,
  names: readonly string[],
  options: Pick<ColumnOptions, "asset" | "assetColumn" | "timeColumn">,
): Result<{ readonly asset: number; readonly time: number }> {
  const alone = options.asset !== undefined && options.assetColumn === undefined;
  const asset = alone ? ok(-1) : find(file, names, options.assetColumn, ASSET_NAMES, "asset");
  if (!asset.ok) return asset;
  const time = find(file, names, options.timeColumn, TIME_NAMES, "time");
  return time.ok ? ok({ asset: asset.value, time: time.value }) : time;
}

function find(
  file: string,
  names: readonly string[],
  wanted: string | undefined,
  usual: readonly string[],
  role: string,
): Result<number> {
  if (wanted !== undefined) {
    const index = names.indexOf(wanted);
    return index >= 0 ? ok(index) : columnMissing(file, wanted, names);
  }
  const lower = names.map((name) => name.toLowerCase());
  for (const name of usual) if (lower.includes(name.toLowerCase())) return ok(lower.indexOf(name.toLowerCase()));
  return err("HISTORY_COLUMN_MISSING", { file, column: role, hint: `; name it with --${role}-column` });
}

function columnMissing(file: string, column: string, names: readonly string[]) {
  const close = nearest(column, names);
  return err("HISTORY_COLUMN_MISSING", {
    file,
    column: column.slice(0, 80),
    hint: close === undefined ? "" : `; did you mean "${close}"?`,
  });
}

function channelColumn(
  file: string,
  index: number,
  column: string,
  declared: string | undefined,
  units: Readonly<Record<string, string>>,
): Result<ChannelColumn> {
  const channel = channelName(column);
  if (!isName(channel)) return err("HISTORY_COLUMN_WRONG", { column, file, reason: "its name has no letter or digit" });
  const given = Object.hasOwn(units, column)
    ? units[column]
    : Object.hasOwn(units, channel)
      ? units[channel]
      : declared;
  if (given === undefined) return ok({ index, column, channel, unit: "1", unitDeclared: false });
  const unit = parseUnit(given);
  if (!unit.ok) {
    return err("HISTORY_UNIT_WRONG", { column, file, unit: given.slice(0, 40), hint: unit.error.detail["hint"] });
  }
  return ok({ index, column, channel, unit: given === "" ? "1" : given, unitDeclared: true });
}

function unknownUnit(units: Readonly<Record<string, string>>, channels: readonly ChannelColumn[]): string | undefined {
  const known = new Set(channels.flatMap(({ column, channel }) => [column, channel]));
  return Object.keys(units).find((name) => !known.has(name));
}
