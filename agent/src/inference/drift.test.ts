import type { DriftRecord } from "@bellwether/protocol/messages/drift.ts";
import type { TelemetryRow } from "@bellwether/protocol/messages/stream.ts";
import type { Manifest } from "@bellwether/protocol/package/manifest.ts";
import { seededRandom } from "@bellwether/protocol/random.ts";
import { unwrap } from "@bellwether/protocol/result.ts";
import { expect, test } from "vitest";
import { PUMP_NAMES, pumpLife, pumpReference } from "../../../test/kit/drift.ts";
import { fakeSession, fakeTensors } from "../../../test/kit/inference.ts";
import { testManifest } from "../../../test/kit/models.ts";
import { createPredictor } from "./predictor.ts";

const drift = pumpReference();
const digest = (letter: string) => `sha256:${letter.repeat(64)}`;
const manifest = (changes: Partial<Manifest> = {}) =>
  testManifest({
    channels: PUMP_NAMES.map((channel) => ({ channel, unit: "1" })),
    features: PUMP_NAMES.map((channel) => ({ name: channel, function: "last", channel })),
    restart: { gapMs: 3_600_000 },
    ...changes,
  });

/** A predictor whose model says what the life's own score was. */
function plant({ changes = {}, assets = ["a"], scores = new Map<number, number>() } = {}) {
  const session = fakeSession(manifest(changes), (features) => scores.get(features[1]!) ?? 50, { features: {}, drift });
  const predictor = unwrap(createPredictor(session, { tensors: fakeTensors, nowMs: () => 1e12 }));
  const sources = PUMP_NAMES.map((channel) => ({ channel, conversion: { scale: 1, offset: 0, same: true } }));
  for (const asset of assets) predictor.bind(asset, sources);
  return predictor;
}

function lifeOf(seed: number, options: Parameters<typeof pumpLife>[2] = {}) {
  const life = pumpLife(seededRandom(seed, 21), 400, options);
  const rows = life.vectors.map(
    (vector, i): TelemetryRow => ({
      asset: "a",
      observedAtMs: i * drift.rowMs,
      values: Object.fromEntries(PUMP_NAMES.map((name, c) => [name, vector[c]!])),
    }),
  );
  return { rows, scores: new Map(life.vectors.map((vector, i) => [vector[1]!, life.scores[i]!])) };
}

async function feed(predictor: ReturnType<typeof plant>, rows: readonly TelemetryRow[]): Promise<DriftRecord[]> {
  const records: DriftRecord[] = [];
  for (const row of rows) {
    predictor.push(row);
    records.push(...(await predictor.flush()).drift);
  }
  return records;
}

test("each window gives one record with its time, model, reference, sketch and phase; own distances once they are known", async () => {
  const { rows, scores } = lifeOf(1);
  const records = await feed(plant({ scores }), rows);
  expect(records).toHaveLength(400 / drift.windowVectors);
  expect(records.map(({ fromMs }) => fromMs)).toEqual(records.map((_, w) => w * drift.windowVectors * drift.rowMs));
  expect(records[0]).toMatchObject({
    asset: "a",
    model: "pump-rul",
    version: 1,
    reference: digest("0"),
    phase: "warming",
  });
  expect(records[0]!.sketch.n).toEqual([20, 20, 20]);
  expect(records[drift.baselineWindows - 2]!.own).toBeUndefined();
  expect(records.at(-1)!.own).toHaveLength(3);
  expect(records.some(({ phase }) => phase === "drifted")).toBe(false);
});

test("a change beside wear is called; the data themselves are watched beside it", async () => {
  const { rows, scores } = lifeOf(2, { change: 5, changeAt: 200 });
  for (const row of rows.slice(300)) Object.assign(row.values, { vibration: null });
  const records = await feed(plant({ scores }), rows);
  expect(records.find(({ phase }) => phase === "drifted")!.verdicts[0]!.feature).toBe("heat");
  expect(records.at(-1)!.quality).toMatchObject([{ channel: "vibration", kind: "missing", rows: 20 }]);
  expect(records[0]!.quality).toEqual([]);
});

test("charts and baseline go on after a restart of the agent; another reference begins anew", async () => {
  const { rows, scores } = lifeOf(3, { change: 4, changeAt: 200 });
  const whole = await feed(plant({ scores }), rows);
  const first = plant({ scores });
  const before = await feed(first, rows.slice(0, 200));
  const memory = JSON.parse(JSON.stringify(first.memoryOf("a")));
  const second = plant({ scores });
  unwrap(second.recall("a", memory));
  expect([...before, ...(await feed(second, rows.slice(200)))]).toEqual(whole);

  const files = { ...manifest().files, reference: { digest: digest("b"), length: 1 } };
  const other = plant({ scores, changes: { files } });
  unwrap(other.recall("a", memory));
  expect((await feed(other, rows.slice(200, 220)))[0]!.phase).toBe("warming");
});

test("a predecessor watches nothing, and a repaired machine makes a new baseline with a new window", async () => {
  const { rows, scores } = lifeOf(4);
  const quiet = plant({ scores });
  quiet.quiet = true;
  expect(await feed(quiet, rows)).toEqual([]);

  const predictor = plant({ scores });
  const cut = 10 * drift.windowVectors + 7;
  const records = await feed(predictor, [
    ...rows.slice(0, cut),
    ...rows.slice(0, 100).map((row) => ({ ...row, observedAtMs: row.observedAtMs + 1e9 })),
  ]);
  expect(records[10]!.fromMs).toBe(1e9);
  expect(records[9]!.own).toBeDefined();
  expect(records[10]!.own).toBeUndefined();
});
