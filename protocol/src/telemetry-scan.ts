import { ColumnHeads } from "./column-heads.ts";
import { BATCH_RECORDS_MAX } from "./columns.ts";
import {
  CLOSE_LIST,
  CLOSE_OBJECT,
  COMMA,
  JsonScan,
  MINUS,
  NINE,
  NOT_SCANNED,
  POINT,
  QUOTE,
  TIME_MS_MAX,
  text,
  ZERO,
} from "./json-scan.ts";
import { valueOfSteps } from "./resolution.ts";
import {
  ASSET_NAME,
  ASSET_WORDS,
  BOOT,
  COLUMN_WORDS,
  COUNT,
  columnsAt,
  EPOCH,
  GROUP_COUNT,
  HEAD_WORDS,
  IS_HIST,
  IS_SYNCED,
  LAST_INDEX,
  MONO_MS,
  nameFrom,
  ROW_COUNT,
  SEQ,
  WALL_MS,
} from "./scan-layout.ts";
import { hashOf, ScanTape } from "./scan-tape.ts";

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
/** Columns whose numbers are compared each with each; of more a set is faster. */
const COMPARED_MAX = 64;

/**
 * Reads what a server must know of telemetry batches before it keeps them, each in one pass over its JSON and without its rows.
 * Whatever is read here `decodeBatch` takes too, and finds the same in it.
 */
export class TelemetryScanner extends JsonScan {
  #tape = new ScanTape();
  readonly #heads = new ColumnHeads();
  /** Numbers made of the names of a group's columns. */
  readonly #hashes = new Int32Array(CHANNELS_MAX);

  /**
   * Reads a batch, the bytes from `from` to before `to`; answers its place on the tape. Undefined for one that is written
   * otherwise than `encodeBatch` writes rows whose channels are all good and in every row: it must be decoded.
   */
  scan(tape: ScanTape, json: Buffer, from: number, to: number): number | undefined {
    const at = tape.length;
    this.#tape = tape;
    this.goTo(json, from, to);
    try {
      this.#batch(at);
      return at;
    } catch (cause) {
      if (cause !== NOT_SCANNED) throw cause;
      tape.cut(at);
      return undefined;
    }
  }

  #batch(at: number): void {
    const tape = this.#tape;
    for (let word = 0; word < HEAD_WORDS; word++) tape.add(0);
    this.expect(HEAD);
    tape.set(at + EPOCH, this.#numberOf(this.at, this.epochEnd()));
    this.expect(FROM_SEQ);
    const fromSeq = this.integer();
    if (fromSeq < 1) throw NOT_SCANNED;
    tape.set(at + SEQ, fromSeq);
    this.expect(HIST);
    tape.set(at + IS_HIST, this.boolean() ? 1 : 0);
    this.expect(CLOCK);
    tape.set(at + BOOT, this.#numberOf(this.at, this.nameEnd()));
    this.expect(MONO);
    const monoMs = this.number();
    if (monoMs < 0) throw NOT_SCANNED;
    tape.set(at + MONO_MS, monoMs);
    this.expect(WALL);
    tape.set(at + WALL_MS, this.time());
    this.expect(SYNCED);
    tape.set(at + IS_SYNCED, this.boolean() ? 1 : 0);
    const order = this.skip(ORDER) ? this.#order() : undefined;
    this.expect(order === undefined ? GROUPS : GROUPS_AFTER_ORDER);
    let [groups, count] = [0, 0];
    do count += this.#group();
    while (++groups && this.skip(GROUP));
    tape.set(at + GROUP_COUNT, groups);
    this.byte(CLOSE_LIST);
    this.byte(CLOSE_OBJECT);
    if (this.at !== this.end || count > BATCH_RECORDS_MAX) throw NOT_SCANNED;
    // Without an order the rows are those of one asset.
    if (order !== undefined) placeLast(tape, assetsFrom(tape, at), count, order);
    else if (groups > 1 || tape.words[at + HEAD_WORDS] !== 1) throw NOT_SCANNED;
    if (!Number.isSafeInteger(fromSeq + count)) throw NOT_SCANNED;
    tape.set(at + COUNT, count);
  }

  #numberOf(from: number, to: number): number {
    return this.#tape.numberOf(this.json, from, to);
  }

  /** Reads one group; answers the number of its rows. */
  #group(): number {
    const tape = this.#tape;
    const groupAt = tape.length;
    tape.add(0);
    tape.add(0);
    let names: readonly number[];
    let counts = NONE;
    if (this.skip(ASSET)) {
      names = [this.#numberOf(this.at, this.nameEnd())];
      this.byte(QUOTE);
    } else {
      this.expect(ASSETS);
      names = this.#names();
      counts = this.#counts(names.length);
    }
    tape.set(groupAt, names.length);
    this.byte(COMMA);
    const ends = this.#times(names, counts);
    this.expect(CHANNELS);
    let columns = 0;
    while (!this.endsList(columns > 0)) {
      if (columns === CHANNELS_MAX) throw NOT_SCANNED;
      this.#column(ends, columns++);
    }
    this.byte(CLOSE_OBJECT);
    tape.set(groupAt + 1, columns);
    if (!this.#heads.areApart(columns)) {
      if (this.#isTwice(columns, columnsAt(groupAt, names.length), names.length)) throw NOT_SCANNED;
      this.#heads.noteApart(columns);
    }
    return ends[ends.length - 1] as number;
  }

  #names(): number[] {
    const names: number[] = [];
    do if (names.push(this.#numberOf(this.at, this.nameEnd())) > BATCH_RECORDS_MAX) throw NOT_SCANNED;
    while (this.skip(NEXT_ASSET));
    return names;
  }

  #counts(assets: number): number[] {
    this.expect(ROWS);
    const counts: number[] = [];
    while (!this.endsList(counts.length > 0)) if (counts.push(this.integer()) > assets) throw NOT_SCANNED;
    if (counts.length < assets || counts.some((count) => count < 1)) throw NOT_SCANNED;
    return counts;
  }

  /** Reads the times of a group's rows and writes its assets; answers the place after each one's last row, in the group. */
  #times(names: readonly number[], counts: readonly number[]): readonly number[] {
    const tape = this.#tape;
    const isOnly = names.length === 1 && counts.length === 0;
    this.expect(T0);
    let timeMs = this.time();
    this.expect(DT);
    const ends: number[] = isOnly ? [0] : [];
    let passed = 0;
    let isAtEnd = false;
    for (let index = 0; index < names.length; index++) {
      const left = isOnly ? Number.POSITIVE_INFINITY : (counts[index] as number);
      let rows = 0;
      let firstAtMs = Number.POSITIVE_INFINITY;
      let lastAtMs = 0;
      while (rows < left) {
        if (passed > 0) {
          isAtEnd = this.endsList(passed > 1);
          if (isAtEnd) break;
          timeMs += this.integer();
          if (timeMs < 0 || timeMs > TIME_MS_MAX || passed >= BATCH_RECORDS_MAX) throw NOT_SCANNED;
        }
        passed++;
        rows++;
        if (timeMs < firstAtMs) firstAtMs = timeMs;
        if (timeMs > lastAtMs) lastAtMs = timeMs;
      }
      if (isAtEnd && !isOnly) throw NOT_SCANNED;
      ends[index] = passed;
      tape.add(names[index] as number);
      tape.add(rows);
      tape.add(firstAtMs);
      tape.add(lastAtMs);
      tape.add(rows - 1);
      tape.add(timeMs);
    }
    if (!isAtEnd && !this.endsList(passed > 1)) throw NOT_SCANNED;
    return ends;
  }

  #column(ends: readonly number[], column: number): void {
    const tape = this.#tape;
    const from = this.at;
    const known = this.#heads.match(column, this.view, from, this.end);
    tape.add(from + CHANNEL.length);
    let resolution = 0;
    if (known > 0) {
      this.at = from + known;
      resolution = this.#heads.resolutionOf(column);
    } else {
      resolution = this.#head(column);
      this.#heads.keep(column, this.json, from, this.at, resolution);
    }
    tape.add(resolution);
    if (resolution === 0) this.#values(ends);
    else this.#steps(ends, resolution);
    this.byte(CLOSE_LIST);
    this.byte(CLOSE_OBJECT);
  }

  /** Reads what stands before a column's values; answers the resolution of its steps, 0 for values as they are. */
  #head(column: number): number {
    this.#heads.forget(column);
    this.expect(CHANNEL);
    this.#hashes[column] = hashOf(this.json, this.at, this.nameEnd());
    if (this.skip(VALUES)) return 0;
    this.expect(RESOLUTION);
    const resolution = this.number();
    if (resolution <= 0) throw NOT_SCANNED;
    this.expect(STEPS);
    return resolution;
  }

  /** A column of values as they are; writes where the text of each asset's last row stands. */
  #values(ends: readonly number[]): void {
    const json = this.json;
    let at = this.at;
    let row = 0;
    for (const end of ends) {
      let from = at;
      for (; row < end; row++) {
        if (row > 0 && json[at++] !== COMMA) throw NOT_SCANNED;
        from = at;
        // Nearly all are digits, perhaps with a sign and a point; what is written otherwise is read with more care.
        if (json[at] === MINUS) at++;
        const first = json[at] as number;
        const whole = at;
        let byte = first;
        while (byte >= ZERO && byte <= NINE) byte = json[++at] as number;
        const digits = at - whole;
        if (byte === POINT) {
          do byte = json[++at] as number;
          while (byte >= ZERO && byte <= NINE);
        }
        const isPlain = digits > 0 && digits < 16 && (first !== ZERO || (digits === 1 && whole === from));
        if (isPlain && (byte === COMMA || byte === CLOSE_LIST) && json[at - 1] !== POINT) continue;
        this.at = from;
        if (!this.skip(NULL)) this.decimal();
        at = this.at;
      }
      this.#tape.add(from);
    }
    this.at = at;
  }

  /** A column of steps; writes where each asset's last row stands, NaN where that is null. */
  #steps(ends: readonly number[], resolution: number): void {
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
      this.#tape.add(isNull ? Number.NaN : steps);
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

  /** Whether two of a group's columns have one name. */
  #isTwice(count: number, at: number, assets: number): boolean {
    if (count < 2) return false;
    // By the numbers made of them: a text for each name of each batch costs more than the rest of reading a row.
    const hashes = this.#hashes;
    if (count <= COMPARED_MAX ? areApart(hashes, count) : new Set(hashes.subarray(0, count)).size === count)
      return false;
    const { words } = this.#tape;
    const names = new Set<string>();
    for (let column = 0; column < count; column++) {
      names.add(nameFrom(this.json, words[at + column * (COLUMN_WORDS + assets)] as number));
    }
    return names.size < count;
  }
}

/** Whether no two of the first numbers are the same. */
function areApart(numbers: Int32Array, count: number): boolean {
  for (let one = 1; one < count; one++) {
    const number = numbers[one];
    for (let other = 0; other < one; other++) if (numbers[other] === number) return false;
  }
  return true;
}

/** The places of the assets of a batch. */
function assetsFrom({ words }: ScanTape, at: number): number[] {
  const places: number[] = [];
  let groupAt = at + HEAD_WORDS;
  for (let groups = words[at + GROUP_COUNT] as number; groups > 0; groups--) {
    const assets = words[groupAt] as number;
    for (let place = 0; place < assets; place++) places.push(groupAt + 2 + place * ASSET_WORDS);
    groupAt = columnsAt(groupAt, assets) + (words[groupAt + 1] as number) * (COLUMN_WORDS + assets);
  }
  return places;
}

/** Writes where each asset's last row stands in the batch. */
function placeLast(tape: ScanTape, assetsAt: readonly number[], count: number, order: readonly number[]): void {
  const { words, texts } = tape;
  if (order.length !== count) throw NOT_SCANNED;
  const left = assetsAt.map((at) => words[at + ROW_COUNT] as number);
  const names = new Set(assetsAt.map((at) => texts[words[at + ASSET_NAME] as number]));
  if (names.size < left.length) throw NOT_SCANNED;
  for (let index = 0; index < count; index++) {
    const place = order[index] as number;
    const at = assetsAt[place];
    if (at === undefined || --(left[place] as number) < 0) throw NOT_SCANNED;
    tape.set(at + LAST_INDEX, index);
  }
}
