import { readFileSync } from "node:fs";
import { zstdCompressSync, zstdDecompressSync } from "node:zlib";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  BATCH_BYTES_MAX,
  BATCH_JSON_BYTES_MAX,
  BATCH_RECORDS_MAX,
  claimedRange,
  decodeBatch,
  encodeBatch,
  encodeChunks,
} from "./batch.ts";
import { columnsOfRows } from "./columns-of-rows.ts";
import { type EventRecord, STREAMS, type StreamBatch, type TelemetryRow } from "./messages/stream.ts";
import { checkRecord } from "./record-check.ts";
import { roundToResolution } from "./resolution.ts";
import { unwrap } from "./result.ts";

const clock = { bootId: "boot-1", monoMs: 12.5, wallMs: 1_790_000_000_000, clockSynced: true };
const envelope = { v: 1, epoch: "0123456789abcdef", fromSeq: 41, hist: false, clock } as const;

function telemetry(records: readonly TelemetryRow[]): StreamBatch<"telemetry"> {
  return { ...envelope, stream: "telemetry", records };
}

const resolutions: Record<string, number> = { coarse: 0.5, fine: 0.001, odd: 1 / 3, whole: 1, constructor: 0.01 };
const resolutionOf = (_asset: string, channel: string) =>
  Object.hasOwn(resolutions, channel) ? resolutions[channel] : undefined;

const double = fc.oneof(
  { weight: 6, arbitrary: fc.double({ noNaN: true, noDefaultInfinity: true }) },
  { weight: 2, arbitrary: fc.maxSafeInteger() },
  { weight: 1, arbitrary: fc.constantFrom(-0, 0, 2 ** 53, -(2 ** 60), 5e-324, Number.MAX_VALUE, 1e21, 0.1 + 0.2) },
);
const channel = fc.constantFrom("coarse", "fine", "odd", "whole", "constructor", "free", "toString", "vib.de-rms_1");
const row: fc.Arbitrary<TelemetryRow> = fc
  .record({
    asset: fc.constantFrom("pump-1", "pump-2", "hasOwnProperty"),
    observedAtMs: fc.oneof(fc.integer({ min: 0, max: 5_000 }), fc.integer({ min: 0, max: 8.64e15 })),
    cells: fc.uniqueArray(
      fc.record({
        channel,
        value: fc.option(double),
        onGrid: fc.boolean(),
        quality: fc.option(fc.constantFrom("uncertain" as const, "bad" as const)),
      }),
      { selector: (cell) => cell.channel, maxLength: 6 },
    ),
  })
  .map(({ asset, observedAtMs, cells }) => {
    const values: Record<string, number | null> = {};
    const quality: Record<string, "uncertain" | "bad"> = {};
    for (const { channel: name, value, onGrid, quality: mark } of cells) {
      const resolution = resolutionOf(asset, name);
      values[name] =
        value !== null && onGrid && resolution !== undefined ? roundToResolution(value, resolution) : value;
      if (mark !== null) quality[name] = mark;
    }
    return Object.keys(quality).length > 0 ? { asset, observedAtMs, values, quality } : { asset, observedAtMs, values };
  });
const rows = fc.array(row, { minLength: 1, maxLength: 40 });

describe("telemetry", () => {
  test("rows come back exactly: doubles to the bit, order, absent channels, nulls and qualities", () => {
    fc.assert(
      fc.property(rows, (records) => {
        const batch = telemetry(records);
        expect(unwrap(decodeBatch("telemetry", encodeBatch(batch, resolutionOf)))).toStrictEqual(batch);
        expect(unwrap(decodeBatch("telemetry", encodeBatch(batch)))).toStrictEqual(batch);
      }),
      { numRuns: 1_000 },
    );
  });

  test("rows that all have the same channels become the columns that others become, and come back exactly", () => {
    const channels = ["coarse", "fine", "odd", "free"] as const;
    const cell = fc.record({ value: double, onGrid: fc.boolean() });
    const even = fc.array(fc.tuple(cell, cell, cell, cell), { minLength: 1, maxLength: 30 }).map((lines) =>
      lines.map((cells, index): TelemetryRow => {
        const values = channels.map((name, place) => {
          const { value, onGrid } = cells[place]!;
          const resolution = resolutionOf("pump-1", name);
          return [name, onGrid && resolution !== undefined ? roundToResolution(value, resolution) + 0 : value] as const;
        });
        return { asset: "pump-1", observedAtMs: 1_000 * index, values: Object.fromEntries(values) };
      }),
    );
    const columns = (records: readonly TelemetryRow[]) => columnsOfRows(records, resolutionOf).groups[0]!.channels;
    fc.assert(
      fc.property(even, (records) => {
        const batch = telemetry(records);
        expect(unwrap(decodeBatch("telemetry", encodeBatch(batch, resolutionOf)))).toStrictEqual(batch);
        // A mark sends all rows of the asset the general way.
        const marked = { ...records.at(-1)!, quality: { free: "uncertain" as const } };
        const general = columns([...records.slice(0, -1), marked]).map(({ uncertain, ...column }) => column);
        expect(columns(records)).toStrictEqual(general);
      }),
    );
  });

  test("negative zero stays negative zero", () => {
    const records = [{ asset: "a", observedAtMs: 1, values: { fine: -0, free: -0 } }];
    const [back] = unwrap(decodeBatch("telemetry", encodeBatch(telemetry(records), resolutionOf))).records;
    expect(Object.is(back?.values["fine"], -0) && Object.is(back?.values["free"], -0)).toBe(true);
  });

  test("a value that is not finite is a failed read", () => {
    const records = [
      { asset: "a", observedAtMs: 1, values: { fine: Number.NaN, free: Number.POSITIVE_INFINITY } },
      { asset: "a", observedAtMs: 2, values: { fine: Number.NaN }, quality: { fine: "bad" as const } },
      { asset: "a", observedAtMs: 3, values: { fine: Number.NaN }, quality: { fine: "uncertain" as const } },
    ];
    const back = unwrap(decodeBatch("telemetry", encodeBatch(telemetry(records), resolutionOf))).records;
    expect(back[0]).toEqual({
      ...records[0],
      values: { fine: null, free: null },
      quality: { fine: "bad", free: "bad" },
    });
    expect(back[1]).toEqual({ ...records[1], values: { fine: null } });
    expect(back[2]).toEqual({ ...records[2], values: { fine: null }, quality: { fine: "bad" } });
  });

  test("many rows of many channels become even chunks, none of which was encoded in vain", () => {
    const values = Object.fromEntries(Array.from({ length: 24 }, (_, i) => [`c${i}`, i]));
    const records = Array.from({ length: 2_048 }, (_, i) => ({ asset: "a", observedAtMs: i, values }));
    const chunks = encodeChunks(telemetry(records));
    expect(chunks.map(({ fromSeq, toSeq }) => [fromSeq, toSeq])).toEqual([
      [41, 1_064],
      [1_065, 2_088],
    ]);
    expect(encodeChunks(telemetry([]))).toEqual([]);
  });

  test("columns of steps are readable with JSON and zstd alone", () => {
    const records = [0.001, 0.003, 0.002].map((fine, index) => ({
      asset: "pump-1",
      observedAtMs: 1_000 + 500 * index,
      values: { fine },
    }));
    const long = Array.from({ length: 100 }, (_, index) => records[index % 3] as TelemetryRow);
    expect(JSON.parse(Buffer.from(encodeBatch(telemetry(records), resolutionOf)).toString("utf8"))).toEqual({
      ...envelope,
      groups: [
        {
          asset: "pump-1",
          t0: 1_000,
          dt: [500, 500],
          channels: [{ channel: "fine", resolution: 0.001, steps: [1, 2, -1] }],
        },
      ],
    });
    const packed = encodeBatch(telemetry(long), resolutionOf);
    expect(JSON.parse(zstdDecompressSync(packed).toString("utf8")).groups[0].dt).toHaveLength(99);
  });

  test("100 rows of 24 channels at their resolution take at most a quarter of row JSON", () => {
    let seed = 1;
    const noise = () => {
      seed = (seed * 48_271) % 2_147_483_647;
      return seed / 2_147_483_647 - 0.5;
    };
    const records = Array.from({ length: 100 }, (_, at) => ({
      asset: "pump-1",
      observedAtMs: 1_790_000_000_000 + at * 1_000,
      values: Object.fromEntries(
        Array.from({ length: 24 }, (_, index) => [`channel-${index}`, roundToResolution(50 + noise(), 0.01)]),
      ),
    }));
    const bytes = encodeBatch(telemetry(records), () => 0.01);
    expect(bytes.length).toBeLessThan(JSON.stringify(records).length / 4);
  });
});

describe("every stream", () => {
  const digest = `sha256:${"ab".repeat(32)}`;
  const records = {
    event: [{ atMs: 5, kind: "device", severity: "info", code: "STARTED", text: "started", later: { kept: '"[[' } }],
    drift: [
      {
        ...{ asset: "pump-1", observedAtMs: 5, fromMs: 1, model: "rul", version: 1, digest, reference: digest },
        ...{ phase: "stable", verdicts: [], quality: [], later: [1, 2, 3] },
        sketch: { n: [2], sum: [-3], sumSq: [5], bins: [{ regime: 0, counts: [[1, 1]] }] },
      },
    ],
    inference: [{ asset: "pump-1", observedAtMs: 5, model: "rul", version: 1, digest, value: 0.1 + 0.2 }],
    samples: [{ asset: "pump-1", observedAtMs: 5, model: "rul", features: { "vib.rms": 1.5, "vib.std": null } }],
    telemetry: [{ asset: "pump-1", observedAtMs: 5, values: { vib: 1 } }],
  } as const;

  test.each(STREAMS)("%s: comes back as it went, members of a later version included", (stream) => {
    const batch = { ...envelope, stream, records: records[stream], site: { laterMember: 1 } } as StreamBatch;
    expect(unwrap(decodeBatch(stream, encodeBatch(batch)))).toStrictEqual(batch);
  });

  test.each(STREAMS)("%s: a gap takes the place of records", (stream) => {
    const batch = { ...envelope, stream, records: [], gap: { count: 7, reason: "evicted" } } as StreamBatch;
    expect(unwrap(decodeBatch(stream, encodeBatch(batch)))).toStrictEqual(batch);
  });

  test.each(STREAMS)("%s: a record is judged before it takes a seq", (stream) => {
    const [record] = records[stream];
    expect(checkRecord(stream, record as never).ok).toBe(true);
    expect(checkRecord(stream, { ...record, asset: "a/b", atMs: -1 } as never).ok).toBe(false);
  });

  test("a batch of the first format is read for ever", () => {
    const fixture = readFileSync(new URL("./fixtures/telemetry-v1.json", import.meta.url));
    const batch = unwrap(decodeBatch("telemetry", fixture));
    expect(batch.records).toStrictEqual([
      { asset: "pump-1", observedAtMs: 1_000, values: { vib: 0.5, temp: 20.25 } },
      { asset: "pump-2", observedAtMs: 1_000, values: { vib: 7 } },
      { asset: "pump-1", observedAtMs: 900, values: { vib: null, temp: 20.5 }, quality: { vib: "bad" } },
      { asset: "pump-1", observedAtMs: 1_100, values: { vib: 0.75 }, quality: { vib: "uncertain" } },
    ]);
  });
});

describe("chunks", () => {
  const event = (text: string): EventRecord => ({ atMs: 1, kind: "device", severity: "info", code: "X", text });
  // Text that does not compress, so that the limit is met.
  const random = (length: number, seed: number) => {
    let state = seed + 1;
    return Array.from({ length }, () => {
      state = (state * 48_271) % 2_147_483_647;
      return String.fromCharCode(0x4e00 + (state % 20_000));
    }).join("");
  };

  test("a long batch is cut into chunks that fit, without hole or overlap", () => {
    const records = Array.from({ length: 300 }, (_, index) => event(random(400, index)));
    const chunks = encodeChunks({ ...envelope, stream: "event", records });
    expect(chunks.length).toBeGreaterThan(3);
    let next: number = envelope.fromSeq;
    const back: EventRecord[] = [];
    for (const chunk of chunks) {
      expect(chunk.bytes.length).toBeLessThanOrEqual(BATCH_BYTES_MAX);
      expect(chunk.fromSeq).toBe(next);
      const batch = unwrap(decodeBatch("event", chunk.bytes));
      expect(batch.fromSeq).toBe(next);
      expect(chunk.toSeq).toBe(next + batch.records.length - 1);
      back.push(...batch.records);
      next = chunk.toSeq + 1;
    }
    expect(back).toEqual(records);
  });

  test("a record that fits no packet becomes a counted gap and harms no other", () => {
    const detail = Object.fromEntries(Array.from({ length: 32 }, (_, index) => [`m${index}`, random(4_000, index)]));
    const records = [event("before"), { ...event("huge"), detail }, event("after")];
    const chunks = encodeChunks({ ...envelope, stream: "event", records });
    const batches = chunks.map((chunk) => unwrap(decodeBatch("event", chunk.bytes)));
    expect(chunks.reduce((sum, chunk) => sum + chunk.unreadable, 0)).toBe(1);
    expect(batches.find((batch) => batch.gap !== undefined)).toMatchObject({
      fromSeq: envelope.fromSeq + 1,
      gap: { count: 1, reason: "unreadable" },
    });
    expect(batches.flatMap((batch) => batch.records.map((record) => record.text))).toEqual(["before", "after"]);
  });
});

describe("hostile bytes", () => {
  const good = JSON.parse(readFileSync(new URL("./fixtures/telemetry-v1.json", import.meta.url), "utf8"));
  const change = (edit: (batch: typeof good) => void) => {
    const copy = structuredClone(good);
    edit(copy);
    return Buffer.from(JSON.stringify(copy));
  };

  /** The first group, of three rows, as it would be of these. */
  const owned = (owners: object) =>
    change((batch) => {
      const { asset: _, ...columns } = batch.groups[0];
      batch.groups[0] = { ...owners, ...columns };
    });

  test.each([
    ["nothing", Buffer.alloc(0), "INVALID_JSON"],
    ["no JSON", Buffer.from("{"), "INVALID_JSON"],
    ["a lone magic number", Buffer.from([0x28, 0xb5, 0x2f, 0xfd]), "BATCH_UNREADABLE"],
    ["a cut frame", zstdCompressSync(Buffer.from(JSON.stringify(good))).subarray(0, 40), "BATCH_UNREADABLE"],
    ["a bomb", zstdCompressSync(Buffer.alloc(100_000_000)), "TOO_LARGE"],
    ["too much JSON", Buffer.alloc(BATCH_JSON_BYTES_MAX + 1, 0x20), "TOO_LARGE"],
    ["deep nesting", Buffer.from("[".repeat(500_000)), "INVALID_JSON"],
    ["deep nesting that ends", Buffer.from("[".repeat(500_000) + "]".repeat(500_000)), "INVALID_SHAPE"],
    [
      "deep nesting in a member nobody knows",
      change((batch) => (batch.later = JSON.parse("[".repeat(33) + "]".repeat(33)))),
      "BATCH_UNREADABLE",
    ],
    ["another version", change((batch) => (batch.v = 2)), "INVALID_SHAPE"],
    ["seq 0", change((batch) => (batch.fromSeq = 0)), "INVALID_SHAPE"],
    ["seq at the end", change((batch) => (batch.fromSeq = Number.MAX_SAFE_INTEGER)), "BATCH_INCONSISTENT"],
    ["a wild asset", change((batch) => (batch.groups[0].asset = "a/#")), "INVALID_SHAPE"],
    ["a channel twice", change((batch) => (batch.groups[0].channels[1].channel = "vib")), "BATCH_INCONSISTENT"],
    ["too few values", change((batch) => batch.groups[0].channels[0].steps.pop()), "BATCH_INCONSISTENT"],
    ["rows that do not exist", change((batch) => (batch.groups[0].channels[1].at = [0, 99])), "BATCH_INCONSISTENT"],
    ["rows that descend", change((batch) => (batch.groups[0].channels[1].at = [1, 0])), "BATCH_INCONSISTENT"],
    ["quality of no row", change((batch) => (batch.groups[0].channels[0].bad = [50])), "BATCH_INCONSISTENT"],
    ["steps and values", change((batch) => (batch.groups[0].channels[0].values = [1])), "BATCH_INCONSISTENT"],
    ["no resolution", change((batch) => delete batch.groups[0].channels[0].resolution), "BATCH_INCONSISTENT"],
    ["an endless step", change((batch) => (batch.groups[0].channels[0].resolution = 1e308)), "BATCH_INCONSISTENT"],
    ["a time before 1970", change((batch) => (batch.groups[0].dt[0] = -5_000)), "BATCH_INCONSISTENT"],
    ["a missing order", change((batch) => delete batch.order), "BATCH_INCONSISTENT"],
    ["a short order", change((batch) => batch.order.pop()), "BATCH_INCONSISTENT"],
    ["an order of another group", change((batch) => (batch.order[0] = 1)), "BATCH_INCONSISTENT"],
    ["an order of no group", change((batch) => (batch.order[0] = 7)), "BATCH_INCONSISTENT"],
    ["assets beside one asset", change((batch) => (batch.groups[0].assets = ["pump-1"])), "BATCH_INCONSISTENT"],
    ["no asset", change((batch) => delete batch.groups[0].asset), "BATCH_INCONSISTENT"],
    ["assets without their rows", owned({ assets: ["a", "b", "c"] }), "BATCH_INCONSISTENT"],
    ["too many rows of assets", owned({ assets: ["a", "b"], rows: [2, 2] }), "BATCH_INCONSISTENT"],
    ["more assets than rows are given to", owned({ assets: ["a", "b"], rows: [3] }), "BATCH_INCONSISTENT"],
    ["an asset of no row", owned({ assets: ["a", "b"], rows: [3, 0] }), "INVALID_SHAPE"],
    ["a gap beside rows", change((batch) => (batch.gap = { count: 1, reason: "evicted" })), "BATCH_INCONSISTENT"],
    [
      "neither rows nor gap",
      change((batch) => {
        batch.groups = [];
        delete batch.order;
      }),
      "BATCH_INCONSISTENT",
    ],
    [
      "too many rows",
      change((batch) => {
        batch.groups = [0, 1].map((index) => ({
          asset: `a${index}`,
          t0: 1,
          dt: Array(BATCH_RECORDS_MAX - 1).fill(0),
          channels: [],
        }));
      }),
      "BATCH_INCONSISTENT",
    ],
  ])("%s", (_, bytes, code) => {
    expect(decodeBatch("telemetry", bytes)).toMatchObject({ ok: false, error: { code } });
  });

  test("any bytes answer a value or a code, and what is read can be written again", () => {
    const text = JSON.stringify(good);
    const mutated = fc
      .tuple(fc.nat(text.length - 1), fc.nat(8), fc.string({ maxLength: 4 }))
      .map(([at, length, put]) => Buffer.from(text.slice(0, at) + put + text.slice(at + length)));
    const framed = fc.uint8Array({ maxLength: 64 }).map((tail) => Buffer.from([0x28, 0xb5, 0x2f, 0xfd, ...tail]));
    const anyJson = fc.json().map((json) => Buffer.from(json));
    const bytes = fc.oneof(fc.uint8Array({ maxLength: 200 }), mutated, framed, anyJson);
    fc.assert(
      fc.property(fc.constantFrom(...STREAMS), bytes, (stream, sent) => {
        const decoded = decodeBatch(stream, sent);
        if (!decoded.ok) expect(decoded.error.message).not.toContain("unknown)");
        else expect(unwrap(decodeBatch(stream, encodeBatch(decoded.value)))).toStrictEqual(decoded.value);
      }),
      { numRuns: 2_000 },
    );
  });

  test("a refused message still says which records it was, where its envelope is whole", () => {
    const body = { epoch: "0123456789abcdef", fromSeq: 41 };
    const said = (more: object, pack = (json: Buffer) => json) =>
      claimedRange("telemetry", pack(Buffer.from(JSON.stringify({ ...body, ...more }))));
    const range = (toSeq: number) => ({ ...body, toSeq });
    expect(said({ records: [1, 2, 3] })).toEqual(range(43));
    expect(said({ records: [1, 2, 3] }, (json) => zstdCompressSync(json))).toEqual(range(43));
    expect(said({ order: [0, 1], groups: [{}, null] })).toEqual(range(42));
    expect(said({ groups: [{ dt: [1, 1] }] })).toEqual(range(43));
    expect(said({ gap: { count: 7 }, records: [] })).toEqual(range(47));
    for (const silent of [{}, { records: [] }, { groups: [null] }, { gap: { count: -1 } }, { gap: { count: 1e300 } }]) {
      expect(said(silent)).toBeUndefined();
    }
    expect(said({ records: [1], fromSeq: Number.MAX_SAFE_INTEGER })).toBeUndefined();
    expect(said({ records: [1], epoch: "x" })).toBeUndefined();
    fc.assert(
      fc.property(
        fc.constantFrom(...STREAMS),
        fc.oneof(fc.uint8Array(), fc.json().map(Buffer.from)),
        (stream, sent) => {
          const claimed = claimedRange(stream, sent);
          if (claimed) expect(claimed.toSeq).toBeGreaterThanOrEqual(claimed.fromSeq);
        },
      ),
    );
  });

  test("what can be read claims the records it holds", () => {
    fc.assert(
      fc.property(fc.array(row, { minLength: 1, maxLength: 40 }), (records) => {
        const { epoch, fromSeq } = envelope;
        const claimed = claimedRange("telemetry", encodeBatch(telemetry(records)));
        expect(claimed).toEqual({ epoch, fromSeq, toSeq: fromSeq + records.length - 1 });
      }),
    );
  });
});
