import { MessageWriter } from "@bellwether/protocol/onnx/protobuf.ts";
import {
  hungryModel,
  modelOf,
  referencesOf,
  slowModel,
  type TestPackage,
  testPackage,
  timesModel,
} from "../../kit/packages.ts";
import { type Row, stoppedBy } from "./row.ts";

/** A good package was taken as the first version; this is what is changed in it. */
export interface UploadRow extends Row {
  readonly bend: () => {
    readonly package?: TestPackage;
    /** Members of the manifest. */
    readonly changes?: object;
  };
}

/** 200,000 nodes, as bytes that ONNX Runtime would take. */
function manyNodes(): Uint8Array {
  const node = { operator: "Identity", domain: "", attributes: {} };
  return modelOf({
    nodes: Array.from({ length: 200_000 }, (_, i) => ({
      ...node,
      inputs: [i === 0 ? "in" : `v${i}`],
      outputs: [i === 199_999 ? "out" : `v${i + 1}`],
    })),
    constants: [],
  });
}

/** A Loop whose condition is always true and whose trip count is left out: it never ends. */
function endlessLoop(): Uint8Array {
  const value = (name: string, type: number, dims: string[]) => (into: MessageWriter) =>
    void into.text(1, name).message(2, (kind) =>
      kind.message(1, (tensor) =>
        tensor.integer(1, type).message(2, (shape) => {
          for (const dim of dims) shape.message(1, (one) => void one.text(2, dim));
        }),
      ),
    );
  const file = new MessageWriter().integer(1, 8);
  file.message(7, (graph) => {
    graph.message(1, (node) => {
      node.text(1, "").text(1, "").text(1, "in").text(2, "out").text(4, "Loop");
      node.message(5, (attribute) =>
        attribute
          .text(1, "body")
          .integer(20, 5)
          .message(6, (body) => {
            body.message(1, (inner) => void inner.text(1, "go").text(2, "on").text(4, "Identity"));
            body.message(1, (inner) => void inner.text(1, "x").text(2, "y").text(4, "Identity"));
            body
              .message(11, value("n", 7, []))
              .message(11, value("go", 9, []))
              .message(11, value("x", 1, ["b", "c"]));
            body.message(12, value("on", 9, [])).message(12, value("y", 1, ["b", "c"]));
          }),
      );
    });
    graph.message(11, value("in", 1, ["batch", "one"])).message(12, value("out", 1, ["batch", "one"]));
  });
  file.message(8, (opset) => void opset.text(1, "").integer(2, 17));
  return file.finish();
}

export const UPLOADS: readonly UploadRow[] = [
  ...stoppedBy<UploadRow>("the graph is read by a reader of our own before anything runs", [
    {
      attack: "a model with an endless loop",
      code: "ONNX_LOOP_REFUSED",
      bend: () => ({ package: testPackage(endlessLoop()) }),
    },
    {
      attack: "a model of 200,000 nodes",
      code: "ONNX_TOO_MANY_NODES",
      bend: () => ({ package: testPackage(manyNodes()) }),
    },
  ]),
  ...stoppedBy<UploadRow>("a model first runs in a child process with limits of memory and time", [
    {
      attack: "a model that wants 2 GB at once",
      code: "CHILD_MEMORY_EXCEEDED",
      bend: () => ({ package: testPackage(hungryModel(500_000_000)) }),
    },
    {
      attack: "a model that wants 1.2 GB at once",
      code: "CHILD_MEMORY_EXCEEDED",
      bend: () => ({ package: testPackage(hungryModel(300_000_000)) }),
    },
    {
      attack: "a model that computes for hours",
      code: "CHILD_TIME_EXCEEDED",
      bend: () => ({ package: testPackage(slowModel(2_000, 10_000)) }),
    },
  ]),
  ...stoppedBy<UploadRow>("golden vectors, digests and a schema bind a package together", [
    {
      attack: "a model that does not keep its promise",
      code: "GOLDEN_MISMATCH",
      bend: () => ({ package: testPackage(undefined, [1, 2, 3]) }),
    },
    {
      attack: "a model whose output is no number",
      code: "OUTPUT_NOT_FINITE",
      bend: () => ({ package: testPackage(timesModel(Number.NaN)) }),
    },
    {
      attack: "a file that nobody sent",
      code: "BLOB_MISSING",
      bend: () => {
        const { files } = testPackage();
        const { model, ...others } = referencesOf(files);
        return { changes: { files: { ...others, model: { ...model, digest: `sha256:${"ab".repeat(32)}` } } } };
      },
    },
    {
      attack: "a manifest that speaks of another model than its path",
      code: "MANIFEST_WRONG",
      bend: () => ({ changes: { model: "other" } }),
    },
    {
      attack: "a manifest with a member that nobody knows",
      code: "INVALID_SHAPE",
      bend: () => ({ changes: { surprise: 1 } }),
    },
  ]),
];
