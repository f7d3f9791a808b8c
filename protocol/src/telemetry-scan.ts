import { BATCH_RECORDS_MAX } from "./columns.ts";
import { CLOSE_LIST, CLOSE_OBJECT, COMMA, JsonScan, MINUS, NOT_SCANNED, TIME_MS_MAX, text, ZERO } from "./json-scan.ts";
import type { ClockReading, TelemetryRow } from "./messages/stream.ts";
import { valueOfSteps } from "./resolution.ts";

/** One asset's rows in a scanned batch. */
export interface ScannedGroup {
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
  readonly groups: readonly ScannedGroup[];
}

/** A column as far as the last row needs it: where its last value's text stands, or its last step. */
interface ScannedColumn {
  readonly nameFrom: number;
  readonly nameTo: number;
  readonly resolution: number | undefined;
  /** The last value's steps; NaN where it is null. */
  readonly lastSteps: number;
  readonly lastFrom: number;
  readonly lastTo: number;
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
const [ORDER, GROUPS, ASSET, T0, DT, CHANNELS] = [
  text('},"order":['),
  text('},"groups":[{"asset":"'),
  text(',{"asset":"'),
  text('","t0":'),
  text(',"dt":['),
  text(',"channels":['),
];
const GROUPS_AFTER_ORDER = text(',"groups":[{"asset":"');
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
    this.expect(WALL);
    const wallMs = this.time();
    this.expect(SYNCED);
    const clock = { bootId, monoMs, wallMs, clockSynced: this.boolean() };
    const order = this.skip(ORDER) ? this.#order() : undefined;
    this.expect(order === undefined ? GROUPS : GROUPS_AFTER_ORDER);
    const groups = [this.#group()];
    while (this.skip(ASSET)) groups.push(this.#group());
    this.byte(CLOSE_LIST);
    this.byte(CLOSE_OBJECT);
    if (this.at !== this.end) throw NOT_SCANNED;
    if (groups.length > 1 && new Set(groups.map(({ asset }) => asset)).size < groups.length) throw NOT_SCANNED;
    const count = placeLast(groups, order);
    if (!Number.isSafeInteger(fromSeq + count)) throw NOT_SCANNED;
    return { epoch, fromSeq, hist, clock, count, groups };
  }

  #group(): ScannedGroup {
    const asset = this.name();
    this.expect(T0);
    let timeMs = this.time();
    let [rows, firstAtMs, lastAtMs] = [1, timeMs, timeMs];
    this.expect(DT);
    while (!this.endsList(rows > 1)) {
      timeMs += this.integer();
      if (timeMs < 0 || timeMs > TIME_MS_MAX || ++rows > BATCH_RECORDS_MAX) throw NOT_SCANNED;
      if (timeMs < firstAtMs) firstAtMs = timeMs;
      if (timeMs > lastAtMs) lastAtMs = timeMs;
    }
    this.expect(CHANNELS);
    const columns: ScannedColumn[] = [];
    while (!this.endsList(columns.length > 0)) columns.push(this.#column(rows));
    this.byte(CLOSE_OBJECT);
    if (columns.length > CHANNELS_MAX || this.#isTwice(columns)) throw NOT_SCANNED;
    const json = this.json;
    const last = () => ({ asset, observedAtMs: timeMs, values: lastValues(json, columns) });
    return { asset, model: undefined, rows, firstAtMs, lastAtMs, lastIndex: rows - 1, last };
  }

  #column(rows: number): ScannedColumn {
    this.expect(CHANNEL);
    const nameFrom = this.at;
    const nameTo = this.nameEnd();
    if (this.skip(VALUES)) {
      let lastFrom = 0;
      for (let row = 0; row < rows; row++) {
        if (row > 0) this.byte(COMMA);
        lastFrom = this.at;
        if (!this.skip(NULL)) this.decimal();
      }
      const lastTo = this.at;
      this.byte(CLOSE_LIST);
      this.byte(CLOSE_OBJECT);
      return { nameFrom, nameTo, resolution: undefined, lastSteps: 0, lastFrom, lastTo };
    }
    this.expect(RESOLUTION);
    const resolution = this.number();
    if (resolution <= 0) throw NOT_SCANNED;
    this.expect(STEPS);
    const lastSteps = this.#steps(rows, resolution);
    this.byte(CLOSE_LIST);
    this.byte(CLOSE_OBJECT);
    return { nameFrom, nameTo, resolution, lastSteps, lastFrom: 0, lastTo: 0 };
  }

  /** A column of steps; answers where it ends, NaN where its last is null. */
  #steps(rows: number, resolution: number): number {
    const json = this.json;
    let at = this.at;
    let [steps, furthest, isNull] = [0, 0, false];
    for (let row = 0; row < rows; row++) {
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
    this.at = at;
    if (furthest > Number.MAX_SAFE_INTEGER || !Number.isFinite(valueOfSteps(furthest, resolution))) throw NOT_SCANNED;
    return isNull ? Number.NaN : steps;
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

function lastValues(json: Buffer, columns: readonly ScannedColumn[]): Record<string, number | null> {
  const values: Record<string, number | null> = {};
  for (const column of columns) {
    const { resolution, lastSteps, lastFrom, lastTo } = column;
    if (resolution === undefined) values[nameOf(json, column)] = JSON.parse(json.toString("latin1", lastFrom, lastTo));
    else values[nameOf(json, column)] = Number.isNaN(lastSteps) ? null : valueOfSteps(lastSteps, resolution);
  }
  return values;
}

/** Where each group's last row stands in the batch; answers the number of rows. */
function placeLast(groups: ScannedGroup[], order: readonly number[] | undefined): number {
  let count = 0;
  for (const { rows } of groups) count += rows;
  if (count > BATCH_RECORDS_MAX || (order === undefined ? groups.length > 1 : order.length !== count))
    throw NOT_SCANNED;
  if (order === undefined) return count;
  const left = groups.map(({ rows }) => rows);
  for (let index = 0; index < count; index++) {
    const place = order[index] as number;
    const group = groups[place];
    if (group === undefined || --(left[place] as number) < 0) throw NOT_SCANNED;
    group.lastIndex = index;
  }
  return count;
}
