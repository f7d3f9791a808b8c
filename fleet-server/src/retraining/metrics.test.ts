import fc from "fast-check";
import { expect, test } from "vitest";
import { aucOf, evaluate, quantile } from "./metrics.ts";

test("figures of a regression beside the mean predictor", () => {
  const truth = Float64Array.of(0, 10, 20, 30);
  const got = evaluate(Float64Array.of(1, 9, 22, 30), truth, Int32Array.of(1, 1, 2, 2), 10, false);
  expect(got).toMatchObject({ rows: 4, assets: 2, mae: 1, maeMean: 10, bias: 0.5 });
  expect(got.rmse).toBeCloseTo(Math.sqrt(6 / 4), 12);
  expect(got.rmseMean).toBeCloseTo(Math.sqrt(600 / 4), 12);
  expect(got.intervalHalfWidth).toBeCloseTo(1.7, 12);
  expect(got).not.toHaveProperty("auc");
});

test("nothing held out gives no figures, not wrong ones", () => {
  const none = new Float64Array(0);
  expect(evaluate(none, none, new Int32Array(0), 1, true)).toMatchObject({ rmse: null, auc: null, f1: null });
});

test("AUC is the share of pairs in the right order, ties half", () => {
  const pair = fc.tuple(fc.constantFrom(0, 0.1, 0.2, 0.5, 0.9), fc.constantFrom(0, 1));
  fc.assert(
    fc.property(fc.array(pair, { minLength: 2, maxLength: 30 }), (pairs) => {
      const scores = Float64Array.from(pairs, ([score]) => score);
      const truth = Float64Array.from(pairs, ([, y]) => y);
      let right = 0;
      let all = 0;
      for (const [up, yes] of pairs) {
        for (const [down, no] of pairs) {
          if (yes !== 1 || no !== 0) continue;
          all += 1;
          right += up > down ? 1 : up === down ? 0.5 : 0;
        }
      }
      const auc = aucOf(scores, truth, truth.filter((y) => y === 1).length);
      if (all === 0) expect(auc).toBeNull();
      else expect(auc).toBeCloseTo(right / all, 10);
    }),
  );
});

test("the best F1 and its threshold", () => {
  const predicted = Float64Array.of(0.9, 0.8, 0.7, 0.2, 0.1);
  const truth = Float64Array.of(1, 0, 1, 0, 0);
  const got = evaluate(predicted, truth, new Int32Array(5), 0.4, true);
  expect(got.f1).toBeCloseTo(0.8, 12);
  expect(got.f1Threshold).toBeCloseTo(0.45, 12);
  expect(got.f1Always).toBeCloseTo(4 / 7, 12);
  expect(got.auc).toBeCloseTo(5 / 6, 12);
});

test("quantiles interpolate", () => {
  expect(quantile(Float64Array.of(4, 1, 3, 2), 0.5)).toBe(2.5);
  expect(quantile(Float64Array.of(7), 0.9)).toBe(7);
});
