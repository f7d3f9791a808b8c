import { expect, test } from "vitest";
import { runtimeReason } from "./runtime-reason.ts";

test.each([
  [
    "Non-zero status code returned while running TreeEnsembleClassifier node. Name:'T' Status Message: /onnxruntime_src/onnxruntime/core/providers/cpu/ml/tree_ensemble_common.h:587 void onnxruntime::ml::detail::TreeEnsembleCommon<InputType>::ComputeAgg(onnxruntime::concurrency::ThreadPool*, const AGG&) const [with AGG = onnxruntime::ml::detail::TreeAggregatorClassifier<float>; InputType = float] One path in the graph requests feature 19 but input tensor has 4 features.\n",
    "One path in the graph requests feature 19 but input tensor has 4 features",
  ],
  [
    "Non-zero status code returned while running Range node. Name:'' Status Message: /onnxruntime_src/onnxruntime/core/framework/bfc_arena.cc:358 void* onnxruntime::BFCArena::AllocateRawInternal(size_t, bool, onnxruntime::Stream*) Failed to allocate memory for requested buffer of size 2000000000\n",
    "Failed to allocate memory for requested buffer of size 2000000000",
  ],
  ["no kernel (for this)", "no kernel (for this)"],
  ["x".repeat(400), "x".repeat(300)],
])("%s", (message, expected) => {
  expect(runtimeReason(new Error(message))).toBe(expected);
});
