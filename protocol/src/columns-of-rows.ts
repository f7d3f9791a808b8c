import {
  differencesOf,
  type ResolutionOf,
  type TelemetryColumn,
  type TelemetryColumns,
  type TelemetryGroup,
} from "./columns.ts";
import type { TelemetryRow } from "./messages/stream.ts";
import { gridOf } from "./resolution.ts";

interface ColumnDraft {
  readonly channel: string;
  /** Rows that have the channel, where not all of them do so far. */
  at: number[] | undefined;
  readonly values: (number | null)[];
  readonly uncertain: number[];
  readonly bad: number[];
}
interface GroupDraft {
  readonly times: number[];
  readonly columns: Map<string, ColumnDraft>;
  /** The columns in the order rows had them so far: rows of one input name their channels in one order. */
  readonly usual: ColumnDraft[];
}

/** Rows of one asset in a batch, in their order, and which of the batch's assets it is. */
interface OwnRows {
  readonly asset: string;
  readonly rows: TelemetryRow[];
  /** Counted over all groups, once they are made. */
  place: number;
}

/** Rows of assets that have the same channels with the same resolutions, all in every row: values in one list, row after row. */
interface EvenRows {
  readonly channels: readonly string[];
  readonly resolutions: readonly (number | undefined)[];
  readonly own: OwnRows[];
  readonly cells: Float64Array;
  /** Places in `cells` that are filled. */
  filled: number;
}

// Assets of one kind share their channels; a plant has few kinds, and looking through many would take longer than it saves.
const KINDS_COMPARED_MAX = 8;

/**
 * Rows to columns, exactly: `rowsOfColumns` gives back the same doubles in the same order. A value that is not finite
 * is a failed read and travels as null with quality bad.
 */
export function columnsOfRows(rows: readonly TelemetryRow[], resolutionOf: ResolutionOf): TelemetryColumns {
  const byAsset = new Map<string, OwnRows>();
  const owners: OwnRows[] = [];
  for (const row of rows) {
    let own = byAsset.get(row.asset);
    if (own === undefined) {
      own = { asset: row.asset, rows: [], place: 0 };
      byAsset.set(row.asset, own);
    }
    own.rows.push(row);
    owners.push(own);
  }
  const kinds: (EvenRows | OwnRows)[] = [];
  let left = rows.length;
  for (const own of byAsset.values()) {
    if (!joinsAny(kinds, own, left, resolutionOf)) kinds.push(own);
    left -= own.rows.length;
  }
  let place = 0;
  for (const kind of kinds) for (const own of "cells" in kind ? kind.own : [kind]) own.place = place++;
  const groups = kinds.map((kind) => ("cells" in kind ? evenGroup(kind) : group(kind, resolutionOf)));
  return byAsset.size > 1 ? { order: owners.map((own) => own.place), groups } : { groups };
}

/**
 * Puts rows that all have the same channels in the same order, a number in each and no marks, as nearly all rows have,
 * with others of their kind, or begins a kind with them. False for rows that are otherwise. `rowsMax`: rows that may come yet.
 */
function joinsAny(kinds: (EvenRows | OwnRows)[], own: OwnRows, rowsMax: number, resolutionOf: ResolutionOf): boolean {
  const channels = Object.keys((own.rows[0] as TelemetryRow).values);
  const resolutions = channels.map((channel) => resolutionOf(own.asset, channel));
  let kind: EvenRows | undefined;
  for (let at = kinds.length - 1; at >= 0 && at >= kinds.length - KINDS_COMPARED_MAX && kind === undefined; at--) {
    const other = kinds[at] as EvenRows | OwnRows;
    if ("cells" in other && isSame(other.channels, channels) && isSame(other.resolutions, resolutions)) kind = other;
  }
  if (kind !== undefined) return fill(kind, own);
  const cells = new Float64Array(rowsMax * channels.length);
  const begun: EvenRows = { channels, resolutions, own: [], cells, filled: 0 };
  if (!fill(begun, own)) return false;
  kinds.push(begun);
  return true;
}

function isSame<T>(left: readonly T[], right: readonly T[]): boolean {
  return left.length === right.length && left.every((one, index) => one === right[index]);
}

/** Adds an asset's rows to those of its kind; false, and nothing added, where one has other channels, no number, or marks. */
function fill(kind: EvenRows, own: OwnRows): boolean {
  const { channels, cells } = kind;
  let at = kind.filled;
  for (const { values, quality } of own.rows) {
    if (quality !== undefined) return false;
    let place = 0;
    for (const channel in values) {
      const value = values[channel] as number | null;
      if (channels[place++] !== channel || value === null || !Number.isFinite(value)) return false;
      cells[at++] = value;
    }
    if (place !== channels.length) return false;
  }
  kind.filled = at;
  kind.own.push(own);
  return true;
}

function evenGroup(kind: EvenRows): TelemetryGroup {
  const { own, resolutions } = kind;
  const width = kind.channels.length;
  const cells = kind.cells.subarray(0, kind.filled);
  const channels = kind.channels.map((channel, place): TelemetryColumn => {
    const resolution = resolutions[place];
    const steps = resolution === undefined ? undefined : stepsOfCells(cells, place, width, resolution);
    if (steps !== undefined && resolution !== undefined) return { channel, resolution, steps };
    return columnOfValues(channel, valuesOfCells(cells, place, width));
  });
  const times = own.flatMap(({ rows }) => rows.map(({ observedAtMs }) => observedAtMs));
  return { ...assetsOf(own), ...differencesOf(times), channels };
}

function assetsOf(own: readonly OwnRows[]): Pick<TelemetryGroup, "asset" | "assets" | "rows"> {
  if (own.length === 1) return { asset: (own[0] as OwnRows).asset };
  return { assets: own.map(({ asset }) => asset), rows: own.map(({ rows }) => rows.length) };
}

function stepsOfCells(cells: Float64Array, place: number, width: number, resolution: number): number[] | undefined {
  const grid = gridOf(resolution);
  const steps = new Array<number>(cells.length / width);
  let before = 0;
  for (let at = place, row = 0; at < cells.length; at += width, row++) {
    const value = cells[at] as number;
    const step = grid.stepsOf(value);
    if (step === undefined || !Object.is(grid.valueOf(step), value)) return undefined;
    const difference = step - before;
    // Told to be a small integer where it is one: lists of those are kept and written faster.
    steps[row] = difference === (difference | 0) ? difference | 0 : difference;
    before = step;
  }
  return steps;
}

function valuesOfCells(cells: Float64Array, place: number, width: number): number[] {
  const values: number[] = [];
  for (let at = place; at < cells.length; at += width) values.push(cells[at] as number);
  return values;
}

function columnOfValues(channel: string, values: (number | null)[]): TelemetryColumn {
  const negativeZeros = negativeZerosOf(values);
  return negativeZeros.length === 0 ? { channel, values } : { channel, values, negativeZeros };
}

function group({ asset, rows }: OwnRows, resolutionOf: ResolutionOf): TelemetryGroup {
  const draft: GroupDraft = { times: [], columns: new Map(), usual: [] };
  for (const row of rows) addRow(draft, row);
  return finishGroup(asset, draft, resolutionOf);
}

function addRow(group: GroupDraft, row: TelemetryRow): void {
  const { times, usual } = group;
  const { values } = row;
  const index = times.length;
  times.push(row.observedAtMs);
  let place = 0;
  for (const channel in values) {
    const expected = usual[place++];
    const column = expected?.channel === channel ? expected : draftOf(group, channel);
    const value = values[channel] as number | null;
    // A column that every row had so far needs no list of its rows.
    if (column.values.length !== index && column.at === undefined) column.at = firstRows(column.values.length);
    column.at?.push(index);
    if (value !== null && Number.isFinite(value)) column.values.push(value);
    else {
      column.values.push(null);
      if (value !== null) column.bad.push(index);
    }
  }
  if (row.quality === undefined) return;
  for (const channel of Object.keys(row.quality)) {
    const column = draftOf(group, channel);
    const marks = row.quality[channel] === "bad" ? column.bad : column.uncertain;
    if (column.bad.at(-1) !== index) marks.push(index);
  }
}

function firstRows(count: number): number[] {
  return Array.from({ length: count }, (_, index) => index);
}

function draftOf(group: GroupDraft, channel: string): ColumnDraft {
  let column = group.columns.get(channel);
  if (column === undefined) {
    column = { channel, at: undefined, values: [], uncertain: [], bad: [] };
    group.columns.set(channel, column);
    group.usual.push(column);
  }
  return column;
}

function finishGroup(asset: string, group: GroupDraft, resolutionOf: ResolutionOf): TelemetryGroup {
  const { times } = group;
  const channels = [...group.columns].map(([channel, draft]): TelemetryColumn => {
    const resolution = resolutionOf(asset, channel);
    const steps = resolution === undefined ? undefined : stepsOfValues(draft.values, resolution);
    const negativeZeros = steps === undefined ? negativeZerosOf(draft.values) : [];
    return {
      channel,
      ...(draft.values.length === times.length ? {} : { at: draft.at ?? firstRows(draft.values.length) }),
      ...(steps === undefined || resolution === undefined ? { values: draft.values } : { resolution, steps }),
      ...(negativeZeros.length === 0 ? {} : { negativeZeros }),
      ...(draft.uncertain.length === 0 ? {} : { uncertain: draft.uncertain }),
      ...(draft.bad.length === 0 ? {} : { bad: draft.bad }),
    };
  });
  return { asset, ...differencesOf(times), channels };
}

/** The values as differences of steps, or undefined when even one would not come back as the same double. */
function stepsOfValues(values: readonly (number | null)[], resolution: number): (number | null)[] | undefined {
  const grid = gridOf(resolution);
  const steps: (number | null)[] = [];
  let before = 0;
  for (let index = 0; index < values.length; index++) {
    const value = values[index] as number | null;
    if (value === null) {
      steps.push(null);
      continue;
    }
    const step = grid.stepsOf(value);
    if (step === undefined || !Object.is(grid.valueOf(step), value)) return undefined;
    steps.push(step - before);
    before = step;
  }
  return steps;
}

function negativeZerosOf(values: readonly (number | null)[]): number[] {
  const found: number[] = [];
  for (let index = 0; index < values.length; index++) if (Object.is(values[index], -0)) found.push(index);
  return found;
}
