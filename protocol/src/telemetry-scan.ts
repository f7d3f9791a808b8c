import { BATCH_RECORDS_MAX } from "./columns.ts";
import {
  CLOSE_LIST,
  CLOSE_OBJECT,
  COMMA,
  JsonScan,
  MINUS,
  NOT_SCANNED,
  QUOTE,
  TIME_MS_MAX,
  text,
  ZERO,
} from "./json-scan.ts";
import type { ClockReading, TelemetryRow } from "./messages/stream.ts";
import { valueOfSteps } from "./resolution.ts";

/** One asset's rows in a scanned batch. */
export interface ScannedAsset {
  readonly asset: string;
  readonly model: undefined;
  readonly rows: number;
  readonly firstAtMs: number;
  readonly lastAtMs: number;
  /** Place in the batch of its last row, 0-based. */
  lastIndex: number;
  /** Its last row. */
  last(): TelemetryRow;
}

/** What stands in a telemetry batch, without its rows. */
export interface TelemetryScan {
  readonly epoch: string;
  readonly fromSeq: number;
  readonly hist: boolean;
  readonly clock: ClockReading;
  readonly count: number;
  readonly assets: readonly ScannedAsset[];
}

/** A column as far as each asset's last row needs it: the steps of its value, NaN where it is null, or where its text stands. */
interface ScannedColumn {
  readonly nameFrom: number;
  readonly nameTo: number;
  readonly resolution: number | undefined;
  readonly last: readonly number[];
  /** Ends of the texts that begin at `last`. */
  readonly lastTo: readonly number[];
}

const [HEAD, FROM_SEQ, HIST, CLOCK, MONO, WALL, SYNCED] = [
  text('{"v":1,"epoch":"'),
  text('","fromSeq":'),
  text(',"hist":'),
  text(',"clock":{"bootId":"'),
  text('","monoMs":'),
  text(',"wallMs":'),
  text(',"clockSynced":'),
];
const [ORDER, GROUPS, GROUP, ASSET, ASSETS, NEXT_ASSET, ROWS, T0, DT, CHANNELS] = [
  text('},"order":['),
  text('},"groups":[{"asset'),
  text(',{"asset'),
  text('":"'),
  text('s":["'),
  text('","'),
  text('"],"rows":['),
  text('"t0":'),
  text(',"dt":['),
  text(',"channels":['),
];
const GROUPS_AFTER_ORDER = text(',"groups":[{"asset');
const NONE: readonly number[] = [];
const [CHANNEL, RESOLUTION, STEPS, VALUES, NULL] = [
  text('{"channel":"'),
  text('","resolution":'),
  text(',"steps":['),
  text('","values":['),
  text("null"),
];
const CHANNELS_MAX = 1_024;

/**
 * Reads what a server must know of a telemetry batch before it keeps it, in one pass over its JSON (the bytes from `from`
 * to before `to`) and without its rows.
 * Whatever is read here `decodeBatch` takes too, and finds the same in it. Undefined for a batch that is written
 * otherwise than `encodeBatch` writes rows whose channels are all good and in every row: it must be decoded.
 */
export function scanTelemetry(json: Buffer, from = 0, to = json.length): TelemetryScan | undefined {
  try {
    return new Scanner(json, from, to).batch();
  } catch (cause) {
    if (cause === NOT_SCANNED) return undefined;
    throw cause;
  }
}

class Scanner extends JsonScan {
  batch(): TelemetryScan {
    this.expect(HEAD);
    const epoch = this.epoch();
    this.expect(FROM_SEQ);
    const fromSeq = this.integer();
    if (fromSeq < 1) throw NOT_SCANNED;
    this.expect(HIST);
    const hist = this.boolean();
    this.expect(CLOCK);
    const bootId = this.name();
    this.expect(MONO);
    const monoMs = this.number();
    if (monoMs < 0) throw NOT_SCANNED;
    this.expect(WALL);
    const wallMs = this.time();
    this.expect(SYNCED);
    const clock = { bootId, monoMs, wallMs, clockSynced: this.boolean() };
    const order = this.skip(ORDER) ? this.#order() : undefined;
    this.expect(order === undefined ? GROUPS : GROUPS_AFTER_ORDER);
    const assets: ScannedAsset[] = [];
    do this.#group(assets);
    while (this.skip(GROUP));
    this.byte(CLOSE_LIST);
    this.byte(CLOSE_OBJECT);
    if (this.at !== this.end) throw NOT_SCANNED;
    if (assets.length > 1 && new Set(assets.map(({ asset }) => asset)).size < assets.length) throw NOT_SCANNED;
    const count = placeLast(assets, order);
    if (!Number.isSafeInteger(fromSeq + count)) throw NOT_SCANNED;
    return { epoch, fromSeq, hist, clock, count, assets };
  }

  /** Reads one group, and adds its assets. */
  #group(into: ScannedAsset[]): void {
    const names: string[] = [];
    let counts = NONE;
    if (this.skip(ASSET)) {
      names.push(this.name());
      this.byte(QUOTE);
    } else {
      this.expect(ASSETS);
      do if (names.push(this.name()) > BATCH_RECORDS_MAX) throw NOT_SCANNED;
      while (this.skip(NEXT_ASSET));
      counts = this.#counts(names.length);
    }
    this.byte(COMMA);
    const columns: ScannedColumn[] = [];
    const ends = this.#times(names, counts, columns, into);
    this.expect(CHANNELS);
    while (!this.endsList(columns.length > 0)) columns.push(this.#column(ends));
    this.byte(CLOSE_OBJECT);
    if (columns.length > CHANNELS_MAX || this.#isTwice(columns)) throw NOT_SCANNED;
  }

  #counts(assets: number): number[] {
    this.expect(ROWS);
    const counts: number[] = [];
    while (!this.endsList(counts.length > 0)) if (counts.push(this.integer()) > assets) throw NOT_SCANNED;
    if (counts.length < assets || counts.some((count) => count < 1)) throw NOT_SCANNED;
    return counts;
  }

  /** Reads the times of a group's rows and adds its assets; answers the place after each one's last row, in the group. */
  #times(
    names: readonly string[],
    counts: readonly number[],
    columns: readonly ScannedColumn[],
    into: ScannedAsset[],
  ): number[] {
    this.expect(T0);
    let timeMs = this.time();
    this.expect(DT);
    let passed = 0;
    const next = (): boolean => {
      if (this.endsList(passed > 0)) return false;
      timeMs += this.integer();
      if (timeMs < 0 || timeMs > TIME_MS_MAX || ++passed >= BATCH_RECORDS_MAX) throw NOT_SCANNED;
      return true;
    };
    const ends: number[] = [];
    for (const [index, asset] of names.entries()) {
      if (index > 0 && !next()) throw NOT_SCANNED;
      const count = counts[index] ?? BATCH_RECORDS_MAX;
      let [rows, firstAtMs, lastAtMs] = [1, timeMs, timeMs];
      while (rows < count && next()) {
        rows++;
        if (timeMs < firstAtMs) firstAtMs = timeMs;
        if (timeMs > lastAtMs) lastAtMs = timeMs;
      }
      if (counts.length > 0 && rows < count) throw NOT_SCANNED;
      ends.push(passed + 1);
      const observedAtMs = timeMs;
      const last = () => ({ asset, observedAtMs, values: lastValues(this.json, columns, index) });
      into.push({ asset, model: undefined, rows, firstAtMs, lastAtMs, lastIndex: rows - 1, last });
    }
    // Of one asset the list was read to its end.
    if (counts.length > 0 && next()) throw NOT_SCANNED;
    return ends;
  }

  #column(ends: readonly number[]): ScannedColumn {
    this.expect(CHANNEL);
    const nameFrom = this.at;
    const nameTo = this.nameEnd();
    const last: number[] = [];
    const lastTo: number[] = [];
    let resolution: number | undefined;
    if (this.skip(VALUES)) {
      for (let row = 0, asset = 0; asset < ends.length; row++) {
        if (row > 0) this.byte(COMMA);
        const from = this.at;
        if (!this.skip(NULL)) this.decimal();
        if (row + 1 < (ends[asset] as number)) continue;
        asset++;
        last.push(from);
        lastTo.push(this.at);
      }
    } else {
      this.expect(RESOLUTION);
      resolution = this.number();
      if (resolution <= 0) throw NOT_SCANNED;
      this.expect(STEPS);
      this.#steps(ends, resolution, last);
    }
    this.byte(CLOSE_LIST);
    this.byte(CLOSE_OBJECT);
    return { nameFrom, nameTo, resolution, last, lastTo };
  }

  /** A column of steps; adds where each asset's last row stands to `last`, NaN where that is null. */
  #steps(ends: readonly number[], resolution: number, last: number[]): void {
    const json = this.json;
    let at = this.at;
    let [steps, furthest, row] = [0, 0, 0];
    for (const end of ends) {
      let isNull = false;
      for (; row < end; row++) {
        if (row > 0 && json[at++] !== COMMA) throw NOT_SCANNED;
        // Most steps are small: one or two digits, perhaps a sign. What is longer is read with more care.
        const negative = json[at] === MINUS;
        const from = negative ? at + 1 : at;
        const [first, second] = [(json[from] as number) - ZERO, (json[from + 1] as number) - ZERO];
        isNull = false;
        if (first >= 0 && first <= 9 && !(second >= 0 && second <= 9) && (first > 0 || !negative)) {
          steps += negative ? -first : first;
          at = from + 1;
        } else {
          this.at = at;
          isNull = json[at] === 0x6e;
          if (isNull) this.expect(NULL);
          else steps += this.integer();
          at = this.at;
        }
        if (steps > furthest) furthest = steps;
        else if (-steps > furthest) furthest = -steps;
      }
      last.push(isNull ? Number.NaN : steps);
    }
    this.at = at;
    if (furthest > Number.MAX_SAFE_INTEGER || !Number.isFinite(valueOfSteps(furthest, resolution))) throw NOT_SCANNED;
  }

  #order(): number[] {
    const order: number[] = [];
    while (!this.endsList(order.length > 0)) {
      if (order.push(this.integer()) > BATCH_RECORDS_MAX) throw NOT_SCANNED;
    }
    return order;
  }

  #isTwice(columns: readonly ScannedColumn[]): boolean {
    if (columns.length < 2) return false;
    const names = new Set<string>();
    for (const column of columns) names.add(nameOf(this.json, column));
    return names.size !== columns.length;
  }
}

function nameOf(json: Buffer, { nameFrom, nameTo }: ScannedColumn): string {
  return json.toString("latin1", nameFrom, nameTo);
}

function lastValues(json: Buffer, columns: readonly ScannedColumn[], place: number): Record<string, number | null> {
  const values: Record<string, number | null> = {};
  for (const column of columns) {
    const { resolution, last, lastTo } = column;
    const at = last[place] as number;
    if (resolution === undefined) values[nameOf(json, column)] = JSON.parse(json.toString("latin1", at, lastTo[place]));
    else values[nameOf(json, column)] = Number.isNaN(at) ? null : valueOfSteps(at, resolution);
  }
  return values;
}

/** Where each asset's last row stands in the batch; answers the number of rows. */
function placeLast(assets: ScannedAsset[], order: readonly number[] | undefined): number {
  let count = 0;
  for (const { rows } of assets) count += rows;
  if (count > BATCH_RECORDS_MAX || (order === undefined ? assets.length > 1 : order.length !== count))
    throw NOT_SCANNED;
  if (order === undefined) return count;
  const left = assets.map(({ rows }) => rows);
  for (let index = 0; index < count; index++) {
    const place = order[index] as number;
    const asset = assets[place];
    if (asset === undefined || --(left[place] as number) < 0) throw NOT_SCANNED;
    asset.lastIndex = index;
  }
  return count;
}
