import fc from "fast-check";
import { expect, test } from "vitest";
import { decodeBatch, encodeBatch, inflateBatch } from "./batch.ts";
import { type BatchView, viewBatch, viewOfRecords } from "./batch-view.ts";
import type { Stream, StreamBatch, TelemetryRow } from "./messages/stream.ts";
import { unwrap } from "./result.ts";
import { scanBatch } from "./scanned-batch.ts";

const EPOCH = "00000000000000aa";
const name = fc.stringMatching(/^[A-Za-z0-9][A-Za-z0-9._-]{0,5}$/).filter((one) => one !== "__proto__");
const value = fc.oneof(
  { weight: 6, arbitrary: fc.integer({ min: -2_000, max: 2_000 }).map((steps) => steps / 100) },
  { weight: 1, arbitrary: fc.double({ noNaN: true, noDefaultInfinity: true }) },
  { weight: 1, arbitrary: fc.constant(null) },
);
const clock = fc.record({
  bootId: name,
  monoMs: fc.double({ min: 0, max: 1e12, noNaN: true }),
  wallMs: fc.integer({ min: 0, max: 2e12 }),
  clockSynced: fc.boolean(),
});

/** Rows of some assets; most have all channels and are good, as rows are. */
const rows: fc.Arbitrary<TelemetryRow[]> = fc
  .tuple(fc.uniqueArray(name, { minLength: 1, maxLength: 3 }), fc.uniqueArray(name, { maxLength: 4 }))
  .chain(([assets, channels]) =>
    fc.array(
      fc
        .tuple(
          fc.constantFrom(...assets),
          fc.integer({ min: 0, max: 2e12 }),
          fc.array(value, { minLength: channels.length, maxLength: channels.length }),
          fc.integer({ min: 0, max: 40 }),
        )
        .map(([asset, observedAtMs, values, oddity]): TelemetryRow => {
          const row = {
            asset,
            observedAtMs,
            values: Object.fromEntries(channels.map((one, at) => [one, values[at]!])),
          };
          const [odd] = channels;
          if (odd === undefined || oddity > 1) return row;
          if (oddity === 0) return { ...row, quality: { [odd]: "uncertain" } };
          return { ...row, values: Object.fromEntries(Object.entries(row.values).filter(([one]) => one !== odd)) };
        }),
      { minLength: 1, maxLength: 12 },
    ),
  );
const batches = fc
  .record({ rows, clock, fromSeq: fc.integer({ min: 1, max: 1e12 }), hist: fc.boolean(), stepped: fc.boolean() })
  .map(({ rows: records, stepped, ...envelope }) => {
    const batch = { v: 1, epoch: EPOCH, ...envelope, records, stream: "telemetry" } as StreamBatch;
    const { fromSeq, hist, clock: reading } = batch;
    const ordered = { v: 1, epoch: EPOCH, stream: "telemetry", fromSeq, records, hist, clock: reading } as StreamBatch;
    return encodeBatch(ordered, () => (stepped ? 0.01 : undefined));
  });

/** All that a view says, with its records. */
function told(view: BatchView) {
  const { epoch, fromSeq, hist, gap, clock: reading, count } = view;
  const assets = view.assets.map((one) => {
    const { asset, model, firstAtMs, lastAtMs, lastIndex } = one;
    const alone = one.alone();
    expect(alone).toMatchObject({ asset, model, firstAtMs, lastAtMs, lastIndex });
    return { asset, model, firstAtMs, lastAtMs, lastIndex, last: one.last(), alone: alone.last() };
  });
  assets.sort((a, b) => a.lastIndex - b.lastIndex);
  return { epoch, fromSeq, hist, gap, clock: reading, count, assets, batch: view.batch() };
}

function expectSame(stream: Stream, bytes: Uint8Array): void {
  const decoded = decodeBatch(stream, bytes);
  // As it lies in a group: other messages before and behind it.
  const around = Buffer.concat([Buffer.from('"}'), bytes, Buffer.from("]}")]);
  // Twice: what was seen the time before is read another way.
  for (let time = 0; time < 2; time++) {
    const viewed = viewBatch(stream, around, 2, 2 + bytes.length);
    if (decoded.ok) expect(told(unwrap(viewed))).toEqual(told(viewOfRecords(decoded.value)));
    else expect(viewed).toEqual(decoded);
  }
}

test("a view says of every batch what decoding it says", () => {
  fc.assert(
    fc.property(batches, (bytes) => expectSame("telemetry", bytes)),
    { numRuns: 100 },
  );
});

test("what was changed on its way is viewed as it is decoded: with the same values, or refused with the same words", () => {
  const plain = batches.map((bytes) => unwrap(inflateBatch("telemetry", bytes)));
  const bits = fc.array(
    fc.tuple(fc.nat(), fc.constantFrom(...Buffer.from('0123456789-+.eE",:[]{}nul xv\\\u0000\u00ff'))),
    {
      minLength: 1,
      maxLength: 3,
    },
  );
  fc.assert(
    fc.property(plain, bits, fc.constantFrom("set", "insert", "remove"), (json, changes, how) => {
      let bytes = Buffer.from(json);
      for (const [place, byte] of changes) {
        const at = place % bytes.length;
        if (how === "set") bytes[at] = byte;
        else if (how === "insert") bytes = Buffer.concat([bytes.subarray(0, at), Buffer.of(byte), bytes.subarray(at)]);
        else bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + 1)]);
      }
      expectSame("telemetry", bytes);
    }),
    { numRuns: 300 },
  );
});

test("a clock that is before its own beginning is refused as decoding refuses it", () => {
  const reading = { bootId: "b", monoMs: 1.25, wallMs: 5, clockSynced: true };
  const records = [{ asset: "pump-1", observedAtMs: 1, values: { vib: 1 } }];
  const batch = { v: 1, epoch: EPOCH, stream: "telemetry", fromSeq: 7, records, hist: false, clock: reading } as const;
  const json = Buffer.from(encodeBatch(batch)).toString("utf8");
  for (const wrong of ["-1.25", "-1e-79"]) {
    const bytes = Buffer.from(json.replace("1.25", wrong));
    expect(decodeBatch("telemetry", bytes).ok).toBe(false);
    expectSame("telemetry", bytes);
  }
});

test("batches as devices send them are read without decoding them", () => {
  const records = Array.from({ length: 40 }, (_, n) => ({
    asset: `pump-${n % 3}`,
    observedAtMs: 1_000 * n,
    values: { vib: n / 8 - 2, temp: n === 20 ? null : n * 1.5 },
  }));
  const reading = { bootId: "b", monoMs: 1.25, wallMs: 5, clockSynced: true };
  const batch = {
    v: 1,
    epoch: EPOCH,
    stream: "telemetry",
    fromSeq: 7,
    records,
    hist: false,
    clock: reading,
  } as StreamBatch;
  for (const resolution of [undefined, 0.125]) {
    const json = unwrap(
      inflateBatch(
        "telemetry",
        encodeBatch(batch, () => resolution),
      ),
    );
    const scan = scanBatch(json, 0, json.length);
    expect([scan?.epoch, scan?.fromSeq, scan?.count]).toEqual([EPOCH, 7, 40]);
    expect(scan?.assets.map((asset) => [asset.lastIndex, asset.last()])).toEqual(
      [39, 37, 38].map((index) => [index, records[index]]),
    );
  }
});

test("columns are read as they are decoded, whatever columns the batches before had", () => {
  const head = `{"v":1,"epoch":"${EPOCH}","fromSeq":1,"hist":false,"clock":{"bootId":"b","monoMs":0,"wallMs":0,"clockSynced":true}`;
  const longName = "n".repeat(64);
  const column = fc
    .tuple(
      fc.constantFrom("a", "b", "ab", longName),
      fc.constantFrom(undefined, 0.5, 0.25, 0.1234567890123456),
      fc.integer({ min: -9, max: 9 }),
    )
    .map(([channel, resolution, number]) =>
      resolution === undefined
        ? { channel, values: [number / 4] }
        : { channel, resolution, steps: [Object.is(number, -0) ? 0 : number] },
    );
  const columns = fc.oneof(
    fc.array(column, { maxLength: 4 }),
    // More than are kept.
    fc
      .integer({ min: 62, max: 66 })
      .map((count) => Array.from({ length: count }, (_, n) => ({ channel: `c${n % 65}`, values: [n] }))),
  );
  fc.assert(
    fc.property(fc.array(columns, { minLength: 1, maxLength: 6 }), (batchesOfColumns) => {
      for (const channels of batchesOfColumns) {
        const groups = JSON.stringify([{ asset: "p", t0: 5, dt: [], channels }]);
        expectSame("telemetry", Buffer.from(`${head},"groups":${groups}}`));
      }
    }),
    { numRuns: 100 },
  );
});

test("a name that two columns have is found after batches in which it had one", () => {
  const json = (...names: string[]) => {
    const channels = names.map((channel) => ({ channel, values: [1] }));
    const groups = JSON.stringify([{ asset: "p", t0: 5, dt: [], channels }]);
    return Buffer.from(
      `{"v":1,"epoch":"${EPOCH}","fromSeq":1,"hist":false,"clock":{"bootId":"b","monoMs":0,"wallMs":0,"clockSynced":true},"groups":${groups}}`,
    );
  };
  const isScanned = (bytes: Buffer) => scanBatch(bytes, 0, bytes.length) !== undefined;
  expect(isScanned(json("a", "b", "c"))).toBe(true);
  expect(isScanned(json("a", "b", "c"))).toBe(true);
  expect(isScanned(json("a", "b", "a"))).toBe(false);
  expect(isScanned(json("a", "b", "a"))).toBe(false);
  expect(isScanned(json("b", "b"))).toBe(false);
  // What was refused half way leaves nothing behind that is taken for read.
  const broken = json("c", "d").toString().replace('"d","values"', '"d","worth"');
  expect(isScanned(Buffer.from(broken))).toBe(false);
  expect(isScanned(json("c", "c"))).toBe(false);
  expect(isScanned(json("c", "d", "b"))).toBe(true);
});

test("a gap, and streams whose records lie apart, are viewed too", () => {
  const envelope = {
    v: 1,
    epoch: EPOCH,
    fromSeq: 1,
    hist: true,
    clock: { bootId: "b", monoMs: 0, wallMs: 0, clockSynced: false },
  };
  const event = { atMs: 1, kind: "device", severity: "info", code: "X", text: "fine" };
  const prediction = {
    asset: "a",
    observedAtMs: 9,
    model: "m",
    version: 1,
    digest: `sha256:${"a".repeat(64)}`,
    value: 1,
  };
  const all = [
    { ...envelope, stream: "telemetry", records: [], gap: { count: 3, reason: "evicted" } },
    { ...envelope, stream: "event", records: [event] },
    { ...envelope, stream: "inference", records: [prediction, { ...prediction, model: "n" }, prediction] },
  ] as unknown as StreamBatch[];
  for (const batch of all) expectSame(batch.stream, encodeBatch(batch));
});
