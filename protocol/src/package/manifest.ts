import { type Static, Type } from "typebox";
import { Digest, Name } from "../ids.ts";
import { integer, mapOf, oneOf, pairOf, validator } from "../schema.ts";

const Count = integer({ minimum: 1, maximum: 100_000 });
const DurationMs = integer({ minimum: 1, maximum: 400 * 86_400_000 });
const closed = { additionalProperties: false } as const;

/** Largest single file of a package. */
export const BLOB_BYTES_MAX = 512 * 1024 * 1024;

/** A content-addressed file of the package: its digest names the blob, its length is checked before and while reading. */
export const BlobReference = Type.Object(
  { digest: Digest, length: integer({ minimum: 1, maximum: BLOB_BYTES_MAX }) },
  closed,
);
export type BlobReference = Static<typeof BlobReference>;

/** A channel the model needs, in the unit it was trained in (UCUM). A device whose unit differs but converts is converted. */
export const ChannelRequirement = Type.Object({ channel: Name, unit: Type.String({ maxLength: 32 }) }, closed);
export type ChannelRequirement = Static<typeof ChannelRequirement>;

/**
 * Which rows make one vector, per asset. `count`: the last `length` rows, a new vector every `hop` rows, the first one
 * at `minRows` (a shorter window is used as it is). `time`: the rows of the last `lengthMs`, every `hopMs` of source time.
 */
export const WindowSpec = Type.Union([
  Type.Object({ kind: Type.Literal("count"), length: Count, hop: Count, minRows: Count }, closed),
  Type.Object({ kind: Type.Literal("time"), lengthMs: DurationMs, hopMs: DurationMs, minRows: Count }, closed),
]);
export type WindowSpec = Static<typeof WindowSpec>;

/**
 * The sign by which the row stream itself tells that an asset is new again: `counter`, a channel that only rises while
 * the machine serves (hours since service), fell; or nothing was heard for longer than `gapMs`.
 */
export const RestartRule = Type.Object(
  { counter: Type.Optional(Name), gapMs: Type.Optional(DurationMs) },
  { ...closed, minProperties: 1 },
);
export type RestartRule = Static<typeof RestartRule>;

/** A named feature: `{channel}.{function}` unless named otherwise. Functions and their parameters: features/catalogue.ts. */
export const FeatureSpec = Type.Object(
  {
    name: Type.String({ minLength: 1, maxLength: 200 }),
    function: Type.String({ minLength: 1, maxLength: 64 }),
    channel: Type.Optional(Name),
    parameters: Type.Optional(mapOf(Name, Type.Number(), { maxProperties: 8 })),
    /** Subtract the asset's own healthy baseline: the mean of this feature over the first `baseline.vectors` vectors. */
    relativeToBaseline: Type.Optional(Type.Boolean()),
  },
  closed,
);
export type FeatureSpec = Static<typeof FeatureSpec>;

export const TENSOR_TYPES = [
  ...(["float32", "float64", "int64", "int32", "bool", "string"] as const),
  ...(["float16", "int8", "uint8", "int16", "uint16", "uint32", "uint64"] as const),
] as const;
export type TensorType = (typeof TENSOR_TYPES)[number];

/** Where a tensor's elements come from. */
export const TensorSource = Type.Union([
  /**
   * These features in this order. Numbers are cast to the tensor's type: towards zero for whole numbers, not 0 is true,
   * "string" gets the shortest decimal text. A missing value has no form in whole numbers and booleans: that run fails.
   */
  Type.Object(
    { kind: Type.Literal("features"), features: Type.Array(Type.String(), { minItems: 1, maxItems: 10_000 }) },
    closed,
  ),
  /**
   * The raw window, [batch, time, channel], oldest row first. A missing value is the channel's value of the row before.
   * A short window is padded in front; of a longer one the newest rows are taken.
   */
  Type.Object(
    {
      kind: Type.Literal("window"),
      channels: Type.Array(Name, { minItems: 1, maxItems: 1_000 }),
      length: Count,
      padding: Type.Union([Type.Literal("zero"), Type.Literal("edge")]),
      /** "channel-time" for models that want [batch, channel, time] (1-D convolutions of PyTorch). */
      order: Type.Optional(Type.Union([Type.Literal("time-channel"), Type.Literal("channel-time")])),
      /** (x - offset) / scale per channel, before padding. */
      offset: Type.Optional(Type.Array(Type.Number())),
      scale: Type.Optional(Type.Array(Type.Number())),
    },
    closed,
  ),
  /** The same elements for every vector. */
  Type.Object(
    {
      kind: Type.Literal("constant"),
      elements: Type.Array(Type.Union([Type.Number(), Type.Boolean(), Type.String({ maxLength: 256 })]), {
        minItems: 1,
        maxItems: 10_000,
      }),
    },
    closed,
  ),
]);
export type TensorSource = Static<typeof TensorSource>;

/** One ONNX graph input. `shape` is fixed but for "batch", which may stand in the first place only. */
export const TensorBinding = Type.Object(
  {
    input: Type.String({ minLength: 1, maxLength: 200 }),
    type: oneOf(TENSOR_TYPES),
    shape: Type.Array(Type.Union([Type.Literal("batch"), integer({ minimum: 1, maximum: 1_000_000 })]), {
      maxItems: 8,
    }),
    source: TensorSource,
  },
  closed,
);
export type TensorBinding = Static<typeof TensorBinding>;

export const OUTPUT_MEANINGS = ["score", "probability", "class", "rul", "value"] as const;

/** One output of the model, taken from an ONNX graph output that is a tensor. */
export const OutputBinding = Type.Object(
  {
    name: Name,
    output: Type.String({ minLength: 1, maxLength: 200 }),
    /** Take this element of the row only; without it a row of one element is a number, a longer one an array. */
    index: Type.Optional(integer({ minimum: 0, maximum: 100_000 })),
    meaning: oneOf(OUTPUT_MEANINGS),
    unit: Type.Optional(Type.String({ maxLength: 32 })),
    /** A value outside is counted as an inference error. */
    range: Type.Optional(pairOf(Type.Number())),
    /** Half width of the interval at 90 %, in the output's unit, from held-out residuals. */
    intervalHalfWidth: Type.Optional(Type.Number({ minimum: 0 })),
    /** The output charts, alerts, gates and explanations look at; exactly one, and it is a number. */
    primary: Type.Optional(Type.Boolean()),
  },
  closed,
);
export type OutputBinding = Static<typeof OutputBinding>;

/** Raises an alert when the primary output crosses the threshold in k of the last n vectors of an asset. */
export const AlertRule = Type.Object(
  {
    direction: Type.Union([Type.Literal("above"), Type.Literal("below")]),
    threshold: Type.Number(),
    k: integer({ minimum: 1, maximum: 1_000 }),
    n: integer({ minimum: 1, maximum: 1_000 }),
  },
  closed,
);
export type AlertRule = Static<typeof AlertRule>;

/** The signed description of a model package; its own digest (of the canonical bytes) is what TUF targets name. */
export const Manifest = Type.Object(
  {
    v: Type.Literal(1),
    model: Name,
    version: integer({ minimum: 1, maximum: 1_000_000_000 }),
    description: Type.Optional(Type.String({ maxLength: 2_000 })),
    files: Type.Object(
      { model: BlobReference, golden: BlobReference, reference: BlobReference, card: Type.Optional(BlobReference) },
      closed,
    ),
    channels: Type.Array(ChannelRequirement, { minItems: 1, maxItems: 1_024 }),
    window: WindowSpec,
    features: Type.Array(FeatureSpec, { maxItems: 10_000 }),
    /** Vectors that make an asset's healthy baseline; until then baseline-relative features are 0. */
    baseline: Type.Optional(Type.Object({ vectors: Count }, closed)),
    /** When an asset counts as new (its bearing was replaced): window, age and baseline begin again with that row. */
    restart: Type.Optional(RestartRule),
    tensors: Type.Array(TensorBinding, { minItems: 1, maxItems: 64 }),
    outputs: Type.Array(OutputBinding, { minItems: 1, maxItems: 64 }),
    alert: Type.Optional(AlertRule),
    compatibility: Type.Object(
      {
        opset: integer({ minimum: 1, maximum: 1_000 }),
        executionProviders: Type.Array(Type.Literal("cpu"), { minItems: 1, maxItems: 1 }),
        /** As in process.arch. */
        architectures: Type.Array(Type.Union([Type.Literal("x64"), Type.Literal("arm64")]), {
          minItems: 1,
          maxItems: 2,
        }),
        minMemoryMb: Type.Optional(Type.Number({ minimum: 0 })),
        minAgentVersion: Type.Optional(Type.String({ pattern: "^\\d+\\.\\d+\\.\\d+$" })),
      },
      closed,
    ),
    limits: Type.Object(
      { p99LatencyMs: Type.Number({ exclusiveMinimum: 0 }), memoryMb: Type.Number({ exclusiveMinimum: 0 }) },
      closed,
    ),
    /** Largest difference from golden outputs: |got - expected| <= absolute + relative * |expected|. */
    tolerance: Type.Object({ absolute: Type.Number({ minimum: 0 }), relative: Type.Number({ minimum: 0 }) }, closed),
    /** Vectors per session.run: 1 for models that cannot batch. */
    maxBatch: integer({ minimum: 1, maximum: 1_024 }),
    lineage: Type.Object(
      {
        trainer: Type.String({ maxLength: 128 }),
        snapshot: Type.Optional(Digest),
        seed: Type.Optional(integer()),
        run: Type.Optional(Type.String({ maxLength: 128 })),
        parent: Type.Optional(Digest),
      },
      closed,
    ),
  },
  closed,
);
export type Manifest = Static<typeof Manifest>;

/** Shape only; what the members say to each other is checked by package/check.ts. */
export const manifestShape = validator("The manifest", Manifest);
