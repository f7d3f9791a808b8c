import { decodeBatch } from "./batch.ts";
import type { AssetView, BatchView } from "./batch-view.ts";
import { CLOSE_LIST, COMMA } from "./json-scan.ts";
import type { ClockReading, StreamBatch, TelemetryRow } from "./messages/stream.ts";
import { valueOfSteps } from "./resolution.ts";
import { unwrap } from "./result.ts";
import {
  ASSET_NAME,
  ASSET_WORDS,
  BOOT,
  COLUMN_WORDS,
  COUNT,
  columnsAt,
  EPOCH,
  FIRST_AT_MS,
  GROUP_COUNT,
  HEAD_WORDS,
  IS_HIST,
  IS_SYNCED,
  LAST_AT_MS,
  LAST_INDEX,
  MONO_MS,
  nameFrom,
  OBSERVED_AT_MS,
  SEQ,
  WALL_MS,
} from "./scan-layout.ts";
import { ScanTape, type Tape } from "./scan-tape.ts";
import { TelemetryScanner } from "./telemetry-scan.ts";

const scanner = new TelemetryScanner();

/** Scans a batch, the bytes from `from` to before `to`; undefined for one that must be decoded. */
export function scanBatch(json: Buffer, from: number, to: number): ScannedBatch | undefined {
  const tape = new ScanTape();
  const at = scanner.scan(tape, json, from, to);
  return at === undefined ? undefined : new ScannedBatch(tape, at, json, from, to);
}

/** The view of a batch that was scanned: its place on the tape, and its bytes. */
export class ScannedBatch implements BatchView {
  readonly tape: Tape;
  readonly json: Buffer;
  readonly #at: number;
  readonly #from: number;
  readonly #to: number;
  #assets: readonly ScannedAsset[] | undefined;

  constructor(tape: Tape, at: number, json: Buffer, from: number, to: number) {
    this.tape = tape;
    this.json = json;
    this.#at = at;
    this.#from = from;
    this.#to = to;
  }

  #word(place: number): number {
    return this.tape.words[this.#at + place] as number;
  }

  get epoch(): string {
    return this.tape.texts[this.#word(EPOCH)] as string;
  }

  get fromSeq(): number {
    return this.#word(SEQ);
  }

  get hist(): boolean {
    return this.#word(IS_HIST) === 1;
  }

  get count(): number {
    return this.#word(COUNT);
  }

  get clock(): ClockReading {
    return {
      bootId: this.tape.texts[this.#word(BOOT)] as string,
      monoMs: this.#word(MONO_MS),
      wallMs: this.#word(WALL_MS),
      clockSynced: this.#word(IS_SYNCED) === 1,
    };
  }

  get assets(): readonly ScannedAsset[] {
    this.#assets ??= this.#findAssets();
    return this.#assets;
  }

  #findAssets(): ScannedAsset[] {
    const { words } = this.tape;
    let groupAt = this.#at + HEAD_WORDS;
    const groups = this.#word(GROUP_COUNT);
    if (groups === 1 && words[groupAt] === 1) return [new ScannedAsset(this, groupAt, 0)];
    const assets: ScannedAsset[] = [];
    for (let group = 0; group < groups; group++) {
      const assetCount = words[groupAt] as number;
      for (let place = 0; place < assetCount; place++) assets.push(new ScannedAsset(this, groupAt, place));
      const columns = words[groupAt + 1] as number;
      groupAt = columnsAt(groupAt, assetCount) + columns * (COLUMN_WORDS + assetCount);
    }
    return assets;
  }

  batch(): StreamBatch {
    return unwrap(decodeBatch("telemetry", this.json.subarray(this.#from, this.#to)));
  }

  /** The same on a tape of its own. */
  again(): ScannedBatch {
    return scanBatch(this.json, this.#from, this.#to) as ScannedBatch;
  }
}

/** One asset's rows in a scanned batch. */
class ScannedAsset implements AssetView {
  readonly #batch: ScannedBatch;
  readonly #groupAt: number;
  readonly #place: number;

  constructor(batch: ScannedBatch, groupAt: number, place: number) {
    this.#batch = batch;
    this.#groupAt = groupAt;
    this.#place = place;
  }

  #word(place: number): number {
    return this.#batch.tape.words[this.#groupAt + 2 + this.#place * ASSET_WORDS + place] as number;
  }

  get asset(): string {
    return this.#batch.tape.texts[this.#word(ASSET_NAME)] as string;
  }

  get model(): undefined {
    return undefined;
  }

  get firstAtMs(): number {
    return this.#word(FIRST_AT_MS);
  }

  get lastAtMs(): number {
    return this.#word(LAST_AT_MS);
  }

  get lastIndex(): number {
    return this.#word(LAST_INDEX);
  }

  last(): TelemetryRow {
    const { tape, json } = this.#batch;
    const values = lastValues(tape, this.#groupAt, this.#place, json);
    return { asset: this.asset, observedAtMs: this.#word(OBSERVED_AT_MS), values };
  }

  alone(): AssetView {
    const { asset, model, firstAtMs, lastAtMs, lastIndex } = this;
    const batch = this.#batch;
    // Few of those that are kept are asked: scanning those once more costs less than reading all while the tape is there.
    const last = () => (batch.again().assets.find((other) => other.asset === asset) as ScannedAsset).last();
    const own: AssetView = { asset, model, firstAtMs, lastAtMs, lastIndex, last, alone: () => own };
    return own;
  }
}

function lastValues({ words }: Tape, groupAt: number, place: number, json: Buffer): Record<string, number | null> {
  const assets = words[groupAt] as number;
  const values: Record<string, number | null> = {};
  let at = columnsAt(groupAt, assets);
  for (let column = words[groupAt + 1] as number; column > 0; column--, at += COLUMN_WORDS + assets) {
    const resolution = words[at + 1] as number;
    const last = words[at + COLUMN_WORDS + place] as number;
    const value = resolution === 0 ? valueFrom(json, last) : Number.isNaN(last) ? null : valueOfSteps(last, resolution);
    values[nameFrom(json, words[at] as number)] = value;
  }
  return values;
}

/** The number or null that was found at a place of a list. */
function valueFrom(json: Buffer, from: number): number | null {
  let to = from;
  while (json[to] !== COMMA && json[to] !== CLOSE_LIST) to++;
  const written = json.toString("latin1", from, to);
  return written === "null" ? null : Number(written);
}
