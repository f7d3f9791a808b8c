import { rawScore, transformed } from "@bellwether/protocol/onnx/ensemble.ts";
import { writeRegressor } from "@bellwether/protocol/onnx/tree-ensemble.ts";
import { seededRandom } from "@bellwether/protocol/random.ts";
import fc from "fast-check";
import { InferenceSession, Tensor } from "onnxruntime-node";
import { describe, expect, test } from "vitest";
import { splitByGroup, type TrainingRows, trainGbdt } from "./gbdt.ts";
import type { LossKind } from "./losses.ts";
import { between, binMatrix, matrixOf } from "./matrix.ts";
import { GBDT_DEFAULTS, type GbdtParameters } from "./parameters.ts";

const EVERYTHING: GbdtParameters = { ...GBDT_DEFAULTS, trees: 40, rowFraction: 1, featureFraction: 1, l2: 0 };

/** Rows of a function of the first features; the others are noise. */
function rowsOf(
  count: number,
  features: number,
  f: (x: number[], r: () => number) => number,
  seed: number,
): TrainingRows {
  const random = seededRandom(seed);
  const xs = Array.from({ length: count }, () => Array.from({ length: features }, () => random.next()));
  return {
    matrix: matrixOf(xs, features),
    target: Float64Array.from(xs, (x) => f(x, () => random.next() - 0.5)),
    groups: Int32Array.from({ length: count }, (_, i) => i % 20),
  };
}

function rowAt({ matrix }: TrainingRows, row: number): Float32Array {
  return Float32Array.from({ length: matrix.features }, (_, f) => matrix.values[f * matrix.rows + row]!);
}

function rmse(rows: TrainingRows, predict: (row: Float32Array) => number): number {
  let sum = 0;
  for (let r = 0; r < rows.matrix.rows; r += 1) sum += (predict(rowAt(rows, r)) - rows.target[r]!) ** 2;
  return Math.sqrt(sum / rows.matrix.rows);
}

const friedman = (x: number[], noise: () => number) =>
  10 * Math.sin(Math.PI * x[0]! * x[1]!) + 20 * (x[2]! - 0.5) ** 2 + 10 * x[3]! + 5 * x[4]! + noise();

describe("regression", () => {
  test("learns Friedman's function and finds its five features among noise", () => {
    const model = trainGbdt(rowsOf(3_000, 10, friedman, 1), "squared", { ...GBDT_DEFAULTS, learningRate: 0.1 }, 1);
    const fresh = rowsOf(1_000, 10, friedman, 2);
    const mean = fresh.target.reduce((a, b) => a + b) / 1_000;
    expect(rmse(fresh, () => mean)).toBeGreaterThan(4);
    expect(rmse(fresh, (row) => rawScore(model.ensemble, row))).toBeLessThan(0.9);
    expect(model.importance.slice(0, 5).reduce((a, b) => a + b)).toBeGreaterThan(0.97);
    expect(model.importance.reduce((a, b) => a + b)).toBeCloseTo(1, 12);
  });

  test("the same seed gives the same trees bit by bit, another one others", () => {
    const rows = rowsOf(500, 6, friedman, 3);
    const parameters = { ...GBDT_DEFAULTS, trees: 20 };
    const one = trainGbdt(rows, "squared", parameters, 7).ensemble;
    expect(trainGbdt(rows, "squared", parameters, 7).ensemble).toEqual(one);
    expect(trainGbdt(rows, "squared", parameters, 8).ensemble).not.toEqual(one);
  });

  test("Huber's loss shrugs off targets that are wildly wrong", () => {
    const wild = (x: number[], noise: () => number) => friedman(x, noise) + (noise() > 0.45 ? 1_000 : 0);
    const rows = rowsOf(2_000, 6, wild, 4);
    const clean = rowsOf(500, 6, friedman, 5);
    const error = (loss: LossKind) => {
      const { ensemble } = trainGbdt(rows, loss, { ...EVERYTHING, trees: 400, huberDelta: 1, learningRate: 0.5 }, 1);
      return rmse(clean, (row) => rawScore(ensemble, row));
    };
    expect(error("huber")).toBeLessThan(error("squared") / 4);
  });

  test("weights say what a row counts: no weight, no say", () => {
    const rows = rowsOf(400, 2, (x) => (x[1]! > 0.5 ? 100 : x[0]!), 6);
    const weights = Float64Array.from({ length: 400 }, (_, i) => (rowAt(rows, i)[1]! > 0.5 ? 0 : 1));
    const { ensemble } = trainGbdt({ ...rows, weights }, "squared", EVERYTHING, 1);
    expect(rawScore(ensemble, Float32Array.of(0.9, 0.1))).toBeCloseTo(0.9, 0);
    expect(Math.max(...ensemble.value)).toBeLessThan(1);
  });

  test("constant features, one row and a constant target end in the mean", () => {
    const flat = { matrix: matrixOf([[1], [1], [1]], 1), target: Float64Array.of(1, 2, 3), groups: new Int32Array(3) };
    expect(rawScore(trainGbdt(flat, "squared", EVERYTHING, 1).ensemble, Float32Array.of(5))).toBeCloseTo(2, 6);
    const one = { matrix: matrixOf([[1]], 1), target: Float64Array.of(4), groups: new Int32Array(1) };
    expect(rawScore(trainGbdt(one, "squared", EVERYTHING, 1).ensemble, Float32Array.of(Number.NaN))).toBeCloseTo(4, 6);
  });
});

describe("trees", () => {
  test("the first cut is the best one by brute force", () => {
    for (let seed = 1; seed <= 25; seed += 1) {
      const rows = rowsOf(60, 3, (x, noise) => x[0]! * x[1]! + noise(), seed);
      const rules = { trees: 1, leaves: 2, minChildRows: 5, learningRate: 1 };
      const { ensemble } = trainGbdt(rows, "squared", { ...EVERYTHING, ...rules }, 1);
      const got = rmse(rows, (row) => rawScore(ensemble, row));
      expect(got, `seed ${seed}`).toBeCloseTo(bestStump(rows, 5), 5);
    }
  });

  test("histograms made by subtraction cut as well as summed ones: deep trees fit distinct rows exactly", () => {
    const rows = rowsOf(200, 3, (_, noise) => noise(), 9);
    const rules = { trees: 1, leaves: 200, depth: 32, minChildRows: 1, learningRate: 1 };
    const { ensemble } = trainGbdt(rows, "squared", { ...EVERYTHING, ...rules }, 1);
    expect(rmse(rows, (row) => rawScore(ensemble, row))).toBeLessThan(1e-6);
  });

  test("no tree is deeper, larger or finer than asked", () => {
    const rows = rowsOf(1_000, 5, friedman, 10);
    const { ensemble } = trainGbdt(
      rows,
      "squared",
      { ...EVERYTHING, trees: 5, leaves: 12, depth: 4, minChildRows: 30 },
      1,
    );
    for (let tree = 0; tree < 5; tree += 1) {
      const from = ensemble.starts[tree]!;
      const to = ensemble.starts[tree + 1]!;
      expect(to - from).toBeLessThanOrEqual(2 * 12 - 1);
      const depth = (node: number): number =>
        ensemble.feature[node]! < 0 ? 0 : 1 + Math.max(depth(ensemble.left[node]!), depth(ensemble.right[node]!));
      expect(depth(from)).toBeLessThanOrEqual(4);
      const reached = new Map<number, number>();
      for (let r = 0; r < 1_000; r += 1) {
        const row = rowAt(rows, r);
        let node = from;
        while (ensemble.feature[node]! >= 0) {
          node =
            row[ensemble.feature[node]!]! <= ensemble.threshold[node]! ? ensemble.left[node]! : ensemble.right[node]!;
        }
        reached.set(node, (reached.get(node) ?? 0) + 1);
      }
      expect(Math.min(...reached.values())).toBeGreaterThanOrEqual(30);
    }
  });
});

/** Least training error of any single cut. */
function bestStump(rows: TrainingRows, minChildRows: number): number {
  const { matrix, target } = rows;
  let best = Number.POSITIVE_INFINITY;
  for (let f = 0; f < matrix.features; f += 1) {
    const order = Array.from(target.keys()).toSorted(
      (a, b) => matrix.values[f * matrix.rows + a]! - matrix.values[f * matrix.rows + b]!,
    );
    for (let cut = minChildRows; cut <= matrix.rows - minChildRows; cut += 1) {
      const spread = (side: number[]) => {
        const mean = side.reduce((sum, i) => sum + target[i]!, 0) / side.length;
        return side.reduce((sum, i) => sum + (target[i]! - mean) ** 2, 0);
      };
      best = Math.min(best, Math.sqrt((spread(order.slice(0, cut)) + spread(order.slice(cut))) / matrix.rows));
    }
  }
  return best;
}

describe("missing values", () => {
  test("that a value is missing can be the signal", () => {
    const random = seededRandom(11);
    const xs = Array.from({ length: 600 }, () => [random.next() < 0.3 ? Number.NaN : random.next()]);
    const rows = {
      matrix: matrixOf(xs, 1),
      target: Float64Array.from(xs, ([x]) => (Number.isNaN(x!) ? 5 : x!)),
      groups: new Int32Array(600),
    };
    const { ensemble } = trainGbdt(rows, "squared", { ...EVERYTHING, trees: 200 }, 1);
    expect(rawScore(ensemble, Float32Array.of(Number.NaN))).toBeCloseTo(5, 2);
    expect(rawScore(ensemble, Float32Array.of(0.9))).toBeCloseTo(0.9, 1);
  });

  test("a value that was never missing in training takes the way of most rows", () => {
    const xs = Array.from({ length: 100 }, (_, i) => [i]);
    const target = Float64Array.from(xs, ([x]) => (x! < 20 ? 0 : 1));
    const rules = { trees: 1, leaves: 2, learningRate: 1, minChildRows: 1 };
    const { ensemble } = trainGbdt(
      { matrix: matrixOf(xs, 1), target, groups: new Int32Array(100) },
      "squared",
      { ...EVERYTHING, ...rules },
      1,
    );
    expect(rawScore(ensemble, Float32Array.of(Number.NaN))).toBeCloseTo(1, 6);
  });
});

describe("binary", () => {
  const step = (x: number[], noise: () => number) => (x[0]! + x[1]! + noise() * 0.2 > 1 ? 1 : 0);
  test("learns a border; probabilities are calibrated to the share of ones", () => {
    const rows = rowsOf(2_000, 4, step, 12);
    const { ensemble } = trainGbdt(rows, "logistic", { ...GBDT_DEFAULTS, trees: 100 }, 1);
    const fresh = rowsOf(1_000, 4, step, 13);
    const p = Array.from({ length: 1_000 }, (_, r) =>
      transformed(rawScore(ensemble, rowAt(fresh, r)), { kind: "logistic" }),
    );
    const right = p.filter((probability, r) => probability > 0.5 === (fresh.target[r] === 1)).length;
    expect(right).toBeGreaterThan(930);
    const mean = (of: ArrayLike<number>) => Array.from(of).reduce((a, b) => a + b) / of.length;
    expect(mean(p)).toBeCloseTo(mean(fresh.target), 1);
  });

  test("one class only gives a finite score that says so", () => {
    const rows = rowsOf(50, 2, () => 1, 14);
    const { ensemble } = trainGbdt(rows, "logistic", { ...EVERYTHING, trees: 5 }, 1);
    expect(transformed(rawScore(ensemble, rowAt(rows, 0)), { kind: "logistic" })).toBeGreaterThan(0.999);
  });
});

describe("early stopping", () => {
  test("stops where held-back assets no longer gain, then grows that many trees on all rows", () => {
    // Each asset has an offset of its own that cannot be learnt from the others: many trees learn it by heart.
    const rows = rowsOf(800, 3, (x, noise) => x[0]! + noise() * 3, 15);
    const parameters = {
      ...EVERYTHING,
      trees: 500,
      learningRate: 0.3,
      earlyStopping: { rounds: 20, assetFraction: 0.25 },
    };
    const model = trainGbdt(rows, "squared", parameters, 1);
    const trees = model.ensemble.starts.length - 1;
    expect(model.watched.length).toBeLessThan(500);
    expect(trees).toBe(model.watched.indexOf(Math.min(...model.watched)) + 1);
    expect(model.watched.length - trees).toBe(20);
  });

  test("holds back whole assets", () => {
    const groups = Int32Array.from({ length: 100 }, (_, i) => i % 10);
    const [learnt, watched] = splitByGroup(groups, 0.3, seededRandom(1));
    const names = (rows: Uint32Array) => new Set(Array.from(rows, (row) => groups[row]));
    expect(names(watched).size).toBe(3);
    expect(names(watched).isDisjointFrom(names(learnt))).toBe(true);
    expect(learnt.length + watched.length).toBe(100);
  });
});

describe("float32", () => {
  const awkward = fc.oneof(
    fc.float(),
    fc.constantFrom(0.1, 0.2, 1, 1 + 2 ** -23, 16_777_216, 16_777_217, 1e300, -1e300, Number.NaN, 0, -0),
  );

  test("a threshold between two float32 numbers parts them", () => {
    fc.assert(
      fc.property(fc.float({ noNaN: true }), fc.float({ noNaN: true }), (a, b) => {
        fc.pre(a < b);
        const t = between(a, b);
        expect(t >= a && t < b && (Object.is(Math.fround(t), t) || t === 0)).toBe(true);
      }),
    );
  });

  test("bins and thresholds agree for any numbers and any number of bins", () => {
    const columns = fc.array(awkward, { minLength: 1, maxLength: 300 });
    fc.assert(
      fc.property(columns, fc.integer({ min: 4, max: 255 }), (column, bins) => {
        const binned = binMatrix(
          matrixOf(
            column.map((x) => [x]),
            1,
          ),
          bins,
        );
        const edges = binned.edges[0]!;
        expect(edges.length + 2).toBeLessThanOrEqual(Math.max(bins, 2));
        for (const [r, x] of column.entries()) {
          const value = Math.fround(x);
          const expected = Number.isNaN(value) ? 0 : 1 + edges.filter((edge) => value > edge).length;
          expect(binned.bins[r]).toBe(expected);
        }
      }),
    );
  });

  test("a trained model puts every training row in ONNX Runtime where training put it", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(awkward, awkward, fc.float({ min: -9, max: 9, noNaN: true })), {
          minLength: 4,
          maxLength: 80,
        }),
        async (table) => {
          const matrix = matrixOf(
            table.map(([a, b]) => [a, b]),
            2,
          );
          const target = Float64Array.from(table, ([, , y]) => y);
          const rows = { matrix, target, groups: new Int32Array(table.length) };
          let trainLoss = Number.NaN;
          const parameters = { ...EVERYTHING, trees: 10, minChildRows: 1, learningRate: 0.5 };
          const { ensemble } = trainGbdt(rows, "squared", parameters, 1, (progress) => {
            trainLoss = progress.trainLoss ?? trainLoss;
          });
          expect(rmse(rows, (row) => rawScore(ensemble, row))).toBeCloseTo(trainLoss, 6);
          const session = await InferenceSession.create(writeRegressor(ensemble, { kind: "identity" }));
          const flat = Float32Array.from({ length: table.length * 2 }, (_, i) => rowAt(rows, i >> 1)[i % 2]!);
          const { prediction } = await session.run({ features: new Tensor("float32", flat, [table.length, 2]) });
          await session.release();
          for (let r = 0; r < table.length; r += 1) {
            expect(Number(prediction!.data[r])).toBeCloseTo(rawScore(ensemble, rowAt(rows, r)), 4);
          }
        },
      ),
      { numRuns: 60 },
    );
  });
});
