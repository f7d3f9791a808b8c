import { type Static, Type } from "typebox";
import {
  BATCH_RECORDS_MAX,
  type ColumnFault,
  columnOf as columnSchema,
  differencesOf,
  Indexes,
  inOrder,
  TimeColumn,
  timesOf,
} from "./columns.ts";
import { Digest, Name } from "./ids.ts";
import { InferenceRecord } from "./messages/stream.ts";
import { integer, mapOf } from "./schema.ts";

const Numbers = columnSchema(Type.Number());
const Counts = columnSchema(integer({ minimum: 0 }));
/** A column, or the one number that stands in every row of it. */
const SameOrCounts = Type.Union([integer({ minimum: 0 }), Counts]);

const { value, outputs, error, latencyUs, alert, explanation, quality, predecessor, shadow } =
  InferenceRecord.properties;

/** Predictions of one model for one asset in a batch, in their order: times, and a column per member that all have. */
export const PredictionGroup = Type.Object({
  asset: Name,
  model: Name,
  version: integer({ minimum: 1 }),
  digest: Digest,
  ...TimeColumn,
  value: Type.Optional(Numbers),
  latencyUs: Type.Optional(columnSchema(Type.Number({ minimum: 0 }))),
  /** Rows (0-based) whose alert stands; in the others it does not. */
  alert: Type.Optional(Indexes),
  outputs: Type.Optional(mapOf(Name, Numbers)),
  /** The output that `value` is; it has no column of its own. */
  primary: Type.Optional(Name),
  quality: Type.Optional(
    Type.Object({ expected: SameOrCounts, received: SameOrCounts, late: SameOrCounts, missing: SameOrCounts }),
  ),
  /** Rows (0-based, ascending) that have members beside these, and the members of each. */
  moreAt: Type.Optional(Indexes),
  more: Type.Optional(
    Type.Array(Type.Object({ value, outputs, error, latencyUs, alert, explanation, quality, predecessor, shadow }), {
      maxItems: BATCH_RECORDS_MAX,
    }),
  ),
});
export type PredictionGroup = Static<typeof PredictionGroup>;

/** How predictions travel: one group per asset, version and form; the group of each record where there are several. */
export const predictionColumns = {
  order: Type.Optional(Indexes),
  groups: Type.Array(PredictionGroup, { maxItems: BATCH_RECORDS_MAX }),
};
export interface PredictionColumns {
  readonly order?: number[];
  readonly groups: PredictionGroup[];
}

const QUALITY = ["expected", "received", "late", "missing"] as const;
type QualityColumns = Record<(typeof QUALITY)[number], number[]>;

interface GroupDraft {
  readonly index: number;
  readonly head: InferenceRecord;
  readonly times: number[];
  readonly value: number[] | undefined;
  readonly latencyUs: number[] | undefined;
  readonly alert: number[] | undefined;
  readonly outputs: Map<string, number[]> | undefined;
  readonly quality: QualityColumns | undefined;
  readonly moreAt: number[];
  readonly more: object[];
}

/** Predictions to columns, exactly: {@link predictionsOfColumns} gives back the same records in the same order. */
export function columnsOfPredictions(records: readonly InferenceRecord[]): PredictionColumns {
  const drafts = new Map<string, GroupDraft>();
  // Records of one asset and model come in one form nearly always: the last of its kind is the first to be asked.
  const usual = new Map<string, GroupDraft>();
  const order: number[] = [];
  for (const record of records) {
    let draft = usual.get(record.asset);
    if (draft === undefined || !fits(draft, record)) {
      const key = keyOf(record);
      draft = drafts.get(key) ?? draftOf(drafts.size, record);
      drafts.set(key, draft);
      usual.set(record.asset, draft);
    }
    order.push(draft.index);
    addRecord(draft, record);
  }
  const groups = [...drafts.values()].map(finish);
  return groups.length > 1 ? { order, groups } : { groups };
}

const isNumber = (value: unknown): value is number => typeof value === "number";

function hasNumbers(outputs: InferenceRecord["outputs"]): outputs is Record<string, number> {
  if (typeof outputs !== "object" || outputs === null || Array.isArray(outputs)) return false;
  for (const name in outputs) if (!isNumber(outputs[name])) return false;
  return true;
}

function hasCounts(quality: InferenceRecord["quality"]): boolean {
  if (typeof quality !== "object" || quality === null) return false;
  const { expected, received, late, missing } = quality;
  if (!(isNumber(expected) && isNumber(received) && isNumber(late) && isNumber(missing))) return false;
  let members = 0;
  for (const _ in quality) members++;
  return members === QUALITY.length;
}

/** Two records of the same key have the same columns. */
function keyOf(record: InferenceRecord): string {
  const { asset, model, version, digest } = record;
  const form = [isNumber(record.value), isNumber(record.latencyUs), typeof record.alert === "boolean"];
  const names = hasNumbers(record.outputs) ? Object.keys(record.outputs).sort() : null;
  return JSON.stringify([asset, model, version, digest, ...form, names, hasCounts(record.quality)]);
}

function fits({ head, value, latencyUs, alert, outputs, quality }: GroupDraft, record: InferenceRecord): boolean {
  if (record.model !== head.model || record.version !== head.version || record.digest !== head.digest) return false;
  if (isNumber(record.value) !== (value !== undefined)) return false;
  if (isNumber(record.latencyUs) !== (latencyUs !== undefined)) return false;
  if ((typeof record.alert === "boolean") !== (alert !== undefined)) return false;
  if (hasCounts(record.quality) !== (quality !== undefined)) return false;
  if (!hasNumbers(record.outputs)) return outputs === undefined;
  if (outputs === undefined) return false;
  let names = 0;
  for (const name in record.outputs) {
    if (!outputs.has(name)) return false;
    names++;
  }
  return names === outputs.size;
}

function draftOf(index: number, head: InferenceRecord): GroupDraft {
  return {
    index,
    head,
    times: [],
    value: isNumber(head.value) ? [] : undefined,
    latencyUs: isNumber(head.latencyUs) ? [] : undefined,
    alert: typeof head.alert === "boolean" ? [] : undefined,
    outputs: hasNumbers(head.outputs) ? new Map(Object.keys(head.outputs).map((name) => [name, []])) : undefined,
    quality: hasCounts(head.quality) ? { expected: [], received: [], late: [], missing: [] } : undefined,
    moreAt: [],
    more: [],
  };
}

function addRecord(draft: GroupDraft, record: InferenceRecord): void {
  const { times, value, latencyUs, alert, outputs, quality } = draft;
  const row = times.length;
  const more = membersBeside(draft, record);
  times.push(record.observedAtMs);
  value?.push(record.value as number);
  latencyUs?.push(record.latencyUs as number);
  if (record.alert === true) alert?.push(row);
  if (outputs !== undefined) {
    const numbers = record.outputs as Readonly<Record<string, number>>;
    for (const [name, column] of outputs) column.push(numbers[name] as number);
  }
  if (quality !== undefined) {
    const { expected, received, late, missing } = record.quality as NonNullable<InferenceRecord["quality"]>;
    quality.expected.push(expected);
    quality.received.push(received);
    quality.late.push(late);
    quality.missing.push(missing);
  }
  if (more === undefined) return;
  draft.moreAt.push(row);
  draft.more.push(more);
}

/** What a record has that is in no column of its group. */
function membersBeside(draft: GroupDraft, record: InferenceRecord): Record<string, unknown> | undefined {
  let more: Record<string, unknown> | undefined;
  for (const member in record) {
    switch (member) {
      case "asset":
      case "model":
      case "version":
      case "digest":
      case "observedAtMs":
        continue;
      case "value":
      case "latencyUs":
      case "alert":
      case "outputs":
      case "quality":
        if (draft[member] !== undefined) continue;
    }
    const other = record[member as keyof InferenceRecord];
    if (other === undefined) continue;
    more ??= {};
    more[member] = other;
  }
  return more;
}

function finish(draft: GroupDraft): PredictionGroup {
  const { head, times, value, latencyUs, alert, outputs, quality, moreAt, more } = draft;
  const { asset, model, version, digest } = head;
  const columns = outputs === undefined ? [] : [...outputs];
  const primary = value && columns.find(([, column]) => column.every((one, row) => Object.is(one, value[row])))?.[0];
  return {
    asset,
    model,
    version,
    digest,
    ...differencesOf(times),
    ...(value === undefined ? {} : { value }),
    ...(latencyUs === undefined ? {} : { latencyUs }),
    ...(alert === undefined ? {} : { alert }),
    ...(outputs === undefined
      ? {}
      : { outputs: Object.fromEntries(columns.filter(([name]) => name !== primary)) as Record<string, number[]> }),
    ...(primary === undefined ? {} : { primary }),
    ...(quality === undefined ? {} : { quality: shortened(quality) }),
    ...(more.length === 0 ? {} : { moreAt, more }),
  };
}

function shortened(quality: QualityColumns): NonNullable<PredictionGroup["quality"]> {
  const short = (column: number[]) => (column.every((one) => one === column[0]) ? (column[0] as number) : column);
  const { expected, received, late, missing } = quality;
  return { expected: short(expected), received: short(received), late: short(late), missing: short(missing) };
}

type MutableRecord = { -readonly [Member in keyof InferenceRecord]: InferenceRecord[Member] };

/** Columns that fit their schema back to predictions in their order, or the first fault. Never throws. */
export function predictionsOfColumns({ order, groups }: PredictionColumns): InferenceRecord[] | ColumnFault {
  const perGroup: InferenceRecord[][] = [];
  for (const [index, group] of groups.entries()) {
    const records = recordsOf(group, `/groups/${index}`);
    if (!Array.isArray(records)) return records;
    perGroup.push(records);
  }
  return inOrder(perGroup, order);
}

function recordsOf(group: PredictionGroup, path: string): MutableRecord[] | ColumnFault {
  const { asset, model, version, digest, value, latencyUs, outputs, primary, quality } = group;
  const times = timesOf(group);
  if (times === undefined) return { path: `${path}/dt`, reason: "a time outside the calendar" };
  const n = times.length;
  const wrong = wrongLength(group, n);
  if (wrong !== undefined) return { path: `${path}/${wrong}`, reason: `not ${n} entries, one per row` };
  if (primary !== undefined && (value === undefined || outputs === undefined || Object.hasOwn(outputs, primary))) {
    return { path: `${path}/primary`, reason: "an output without a value, or with a column of its own" };
  }
  const names = outputs === undefined ? [] : Object.keys(outputs);
  const at = (column: number | number[], row: number) => (isNumber(column) ? column : (column[row] as number));
  const records = times.map((observedAtMs, row) => {
    const record: MutableRecord = { asset, observedAtMs, model, version, digest };
    if (value !== undefined) record.value = value[row] as number;
    if (outputs !== undefined) {
      const own: Record<string, number> = {};
      for (const name of names) own[name] = outputs[name]?.[row] as number;
      if (primary !== undefined) own[primary] = value?.[row] as number;
      record.outputs = own;
    }
    if (latencyUs !== undefined) record.latencyUs = latencyUs[row] as number;
    if (group.alert !== undefined) record.alert = false;
    if (quality !== undefined) {
      const { expected, received, late, missing } = quality;
      record.quality = {
        expected: at(expected, row),
        received: at(received, row),
        late: at(late, row),
        missing: at(missing, row),
      };
    }
    return record;
  });
  for (const row of group.alert ?? []) {
    if (records[row] === undefined)
      return { path: `${path}/alert`, reason: `an alert of row ${row}, which does not exist` };
    records[row].alert = true;
  }
  return addMore(records, group, path);
}

/** The name of a column that is longer or shorter than the group. */
function wrongLength({ value, latencyUs, outputs, quality }: PredictionGroup, n: number): string | undefined {
  if (value !== undefined && value.length !== n) return "value";
  if (latencyUs !== undefined && latencyUs.length !== n) return "latencyUs";
  for (const name in outputs) if (outputs[name]?.length !== n) return `outputs/${name}`;
  return QUALITY.find((name) => Array.isArray(quality?.[name]) && quality[name].length !== n);
}

function addMore(
  records: MutableRecord[],
  { moreAt = [], more = [] }: PredictionGroup,
  path: string,
): MutableRecord[] | ColumnFault {
  if (moreAt.length !== more.length) return { path: `${path}/more`, reason: `not ${moreAt.length} entries, as moreAt` };
  let before = -1;
  for (const [index, row] of moreAt.entries()) {
    const record = records[row];
    if (record === undefined || row <= before) {
      return { path: `${path}/moreAt`, reason: "rows that do not ascend, or do not exist" };
    }
    before = row;
    const members = more[index] as object;
    const twice = Object.keys(members).find((member) => Object.hasOwn(record, member));
    if (twice !== undefined) return { path: `${path}/more/${index}`, reason: `${twice} twice` };
    // Not assigned: a member that is called __proto__ is a member like any other.
    records[row] = { ...record, ...members };
  }
  return records;
}
