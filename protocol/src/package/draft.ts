import { isName } from "../ids.ts";
import type { CheckedModel, ModelInput, ModelOutput } from "../onnx/static-check.ts";
import { err, ok, type Result } from "../result.ts";
import type {
  ChannelRequirement,
  FeatureSpec,
  Manifest,
  OUTPUT_MEANINGS,
  OutputBinding,
  TensorBinding,
  TensorSource,
  WindowSpec,
} from "./manifest.ts";
import { elementsPerVector, OUTPUT_ELEMENTS_MAX, type OutputTensor } from "./tensors.ts";

export type Meaning = (typeof OUTPUT_MEANINGS)[number];

/** What the maker of a model says of it; everything else follows from the model itself. */
export interface DraftOptions {
  /** In the order the model was trained with. */
  readonly channels: readonly ChannelRequirement[];
  /** Instead of the newest value of each channel, in the order the model was trained with. */
  readonly features?: readonly FeatureSpec[];
  readonly window?: WindowSpec;
  /** Which channels (or features) feed an input; the others are dealt out in order. */
  readonly inputs?: Readonly<Record<string, readonly string[]>>;
  /** Inputs that always get the same elements. */
  readonly constants?: Readonly<Record<string, readonly (number | boolean | string)[]>>;
  /** Sizes of free dimensions, by their names in the model. */
  readonly dims?: Readonly<Record<string, number>>;
  readonly meaning: Meaning;
  /** Unit of the primary output. */
  readonly unit?: string;
  /** The primary output: a graph output, and which element of it. */
  readonly primary?: { readonly output: string; readonly index?: number };
}

/** How vectors are made and bound: the half of a manifest that is known before the model runs. */
export type DraftedInputs = Pick<Manifest, "channels" | "window" | "features" | "tensors"> & {
  /** Whether every tensor that differs from vector to vector has a free batch. */
  readonly batches: boolean;
};

/**
 * Binds a model's inputs: [batch, n] and other fixed shapes take n features, by default the newest value of each channel;
 * [batch, time, channel] takes the raw window. `DRAFT_CHANNELS_WRONG` says how many channels the model needs,
 * `DRAFT_SHAPE_OPEN` which free dimension nobody has named.
 */
export function draftInputs(model: CheckedModel, options: DraftOptions): Result<DraftedInputs> {
  const { channels } = options;
  const features = options.features ?? channels.map(({ channel }) => lastOf(channel));
  const plans: InputPlan[] = [];
  for (const input of model.inputs) {
    const plan = planInput(input, model, options);
    if (!plan.ok) return plan;
    plans.push(plan.value);
  }
  const dealt = deal(plans, features, options);
  if (!dealt.ok) return dealt;
  const tensors = dealt.value;
  const lengths = tensors.flatMap(({ source }) => (source.kind === "window" ? [source.length] : []));
  const longest = Math.max(1, ...lengths);
  const window = options.window ?? { kind: "count", length: longest, hop: 1, minRows: longest };
  const batches = tensors.every(({ shape, source }) => shape[0] === "batch" || source.kind === "constant");
  return ok({ channels: [...channels], window, features: [...features], tensors, batches });
}

function lastOf(channel: string): FeatureSpec {
  return { name: `${channel}.last`, function: "last", channel };
}

/** One input with its shape; a size of undefined is found from the number of channels. */
interface InputPlan {
  readonly input: ModelInput;
  readonly batched: boolean;
  readonly sizes: readonly (number | undefined)[];
  readonly kind: "features" | "window" | "constant";
}

function planInput(input: ModelInput, model: CheckedModel, options: DraftOptions): Result<InputPlan> {
  const constant = options.constants?.[input.name];
  // A model that does not say its shape is taken to be the usual table of features.
  const shape = input.shape ?? ["batch", ""];
  const batched = typeof shape[0] === "string" && isBatch(shape[0], model, options);
  const sizes = (batched ? shape.slice(1) : shape).map((size) =>
    typeof size === "number" ? size : options.dims?.[size],
  );
  const isWindow = shape.length === 3 && (batched || sizes[0] === 1);
  const kind = constant ? "constant" : isWindow ? "window" : "features";
  if (kind === "window") {
    const [time, channel] = sizes.slice(-2);
    const rows = time ?? (options.window?.kind === "count" ? options.window.length : undefined);
    if (rows === undefined) return open(input, shape, shape.length - 2);
    const one = sizes.length === 3 ? [sizes[0]] : [];
    return ok({ input, batched, kind, sizes: [...one, rows, channel] });
  }
  const unknown = sizes.filter((size) => size === undefined).length;
  if (unknown > (kind === "constant" ? 0 : 1)) {
    return open(
      input,
      shape,
      shape.findIndex(
        (size, i) => typeof size === "string" && sizes[i - (batched ? 1 : 0)] === undefined && !(batched && i === 0),
      ),
    );
  }
  return ok({ input, batched, kind, sizes });
}

function open(input: ModelInput, shape: readonly (number | string)[], at: number): ReturnType<typeof err> {
  const dimension = shape[at] === "" ? `number ${at + 1}` : String(shape[at]);
  return err("DRAFT_SHAPE_OPEN", { input: input.name, shape: shape.map((size) => size || "?"), dimension });
}

/**
 * A free first dimension is the batch, whatever its name (exporters give each tensor another), unless its size was given
 * or the same name stands elsewhere, where it cannot be the batch.
 */
function isBatch(name: string, model: CheckedModel, { dims }: DraftOptions): boolean {
  if (name === "") return true;
  if (dims !== undefined && Object.hasOwn(dims, name)) return false;
  return !model.inputs.some(({ shape }) => shape?.slice(1).includes(name));
}

/** Gives every input its channels or features, in order, and its final shape. */
function deal(
  plans: readonly InputPlan[],
  features: readonly FeatureSpec[],
  options: DraftOptions,
): Result<TensorBinding[]> {
  const names = {
    window: options.channels.map(({ channel }) => channel),
    features: features.map(({ name }) => name),
  };
  const free = { window: [...names.window], features: [...names.features] };
  // Channels and their newest values are the same things dealt once, unless features of their own were given.
  const shared = options.features === undefined;
  const tensors: TensorBinding[] = [];
  for (const plan of plans) {
    const { input, batched, kind } = plan;
    if (kind === "constant") {
      const shape = [...(batched ? (["batch"] as const) : []), ...(plan.sizes as number[])];
      const elements = [...options.constants![input.name]!];
      const wanted = elementsPerVector(shape);
      if (elements.length !== wanted) return wrongCount(input, wanted, elements.length, "elements");
      tensors.push({ input: input.name, type: input.type, shape, source: { kind, elements } });
      continue;
    }
    const given = options.inputs?.[input.name]?.map((name) => (kind === "window" ? name : featureOf(name, names)));
    const rest = plans.slice(tensors.length + 1).some(({ kind: other }) => other !== "constant");
    const available = given ?? free[kind];
    const sizes = finalSizes(plan, available.length, given !== undefined || !rest);
    const wanted = kind === "window" ? sizes.at(-1)! : sizes.reduce((product, size) => product * size, 1);
    const chosen = available.slice(0, wanted);
    if (chosen.length !== wanted || (given ?? []).length > wanted) {
      return wrongCount(input, wanted, available.length, kind === "window" ? "channels" : "features");
    }
    if (given === undefined) {
      free[kind].splice(0, wanted);
      if (shared) free[kind === "window" ? "features" : "window"].splice(0, wanted);
    }
    const shape = [...(batched ? (["batch"] as const) : []), ...sizes];
    const source: TensorSource =
      kind === "window"
        ? { kind, channels: chosen, length: sizes.at(-2)!, padding: "edge" }
        : { kind, features: chosen };
    tensors.push({ input: input.name, type: input.type, shape, source });
  }
  const left = free.features.length;
  if (left > 0 && options.inputs === undefined) {
    const total = names.features.length;
    const all = plans.map(({ input }) => input.name).join(", ");
    return err("DRAFT_CHANNELS_WRONG", {
      input: all,
      expected: total - left,
      actual: total,
      what: shared ? "channels" : "features",
    });
  }
  return ok(tensors);
}

/** A feature by its own name, or by the channel whose newest value it is. */
function featureOf(name: string, names: { readonly features: readonly string[] }): string {
  return names.features.includes(name) ? name : `${name}.last`;
}

/** The one size that the model leaves free follows from how many there are to take. */
function finalSizes({ sizes, kind }: InputPlan, available: number, takesAll: boolean): number[] {
  const known = sizes.reduce<number>((product, size) => product * (size ?? 1), 1);
  const rest = kind === "window" ? available : Math.max(1, Math.floor(available / known));
  return sizes.map((size) => size ?? (takesAll ? rest : 1));
}

function wrongCount(input: ModelInput, expected: number, actual: number, what: string): ReturnType<typeof err> {
  return err("DRAFT_CHANNELS_WRONG", { input: input.name, expected, actual, what });
}

/**
 * Binds a model's outputs by what a run over one vector gave: the primary one by its meaning, and beside it every other
 * tensor of at most 1,024 elements. `DRAFT_OUTPUT_UNCLEAR` lists what could be primary.
 */
export function draftOutputs(
  model: CheckedModel,
  results: Readonly<Record<string, OutputTensor>>,
  { meaning, unit, primary: wanted }: Pick<DraftOptions, "meaning" | "unit" | "primary">,
): Result<OutputBinding[]> {
  const all = model.outputs.flatMap((output) => {
    const width = results[output.name]?.data.length ?? 0;
    return output.fetchable && width > 0 ? [{ output, width }] : [];
  });
  const primary = wanted ?? guessPrimary(all, meaning);
  const found = all.find(({ output }) => output.name === primary?.output);
  if (!primary || !found || found.output.type === "string" || (primary.index ?? 0) >= found.width) {
    const outputs = all.map(({ output, width }) => `${output.name} (${width} of ${output.type})`).join(", ");
    return err("DRAFT_OUTPUT_UNCLEAR", { meaning, outputs });
  }
  const index = found.width > 1 ? { index: primary.index ?? 0 } : {};
  const taken = new Set<string>();
  const bindings: OutputBinding[] = [
    {
      name: nameOf(found.width > 1 ? `${found.output.name}.${index.index}` : found.output.name, taken),
      output: found.output.name,
      ...index,
      meaning,
      ...(unit === undefined ? {} : { unit }),
      primary: true,
    },
  ];
  for (const { output, width } of all) {
    if (width > OUTPUT_ELEMENTS_MAX || (output === found.output && width === 1)) continue;
    bindings.push({ name: nameOf(output.name, taken), output: output.name, meaning: besides(output, width, meaning) });
  }
  return ok(bindings);
}

interface Seen {
  readonly output: ModelOutput;
  readonly width: number;
}

const isWhole = ({ type }: ModelOutput) => /^u?int|^bool$/.test(type ?? "");

function guessPrimary(all: readonly Seen[], meaning: Meaning): DraftOptions["primary"] {
  const singles = all.filter(({ output, width }) => width === 1 && output.type !== "string");
  const floats = all.filter(({ output }) => output.type !== "string" && !isWhole(output));
  if (meaning === "class") {
    const label = singles.find(({ output }) => isWhole(output)) ?? singles[0];
    return label && { output: label.output.name };
  }
  if (meaning === "probability") {
    // A binary classifier gives both classes; the second is the one that is asked for.
    const pair = floats.find(({ width }) => width === 2);
    if (pair) return { output: pair.output.name, index: 1 };
  }
  const single = floats.find(({ width }) => width === 1) ?? (floats.length === 0 ? singles[0] : undefined);
  return single && { output: single.output.name };
}

function besides(output: ModelOutput, width: number, meaning: Meaning): Meaning {
  if (isWhole(output) && width === 1) return "class";
  return meaning === "probability" || meaning === "class" ? "probability" : "value";
}

/** A name that manifests take, as near to the graph's own as can be, each once. */
function nameOf(graphName: string, taken: Set<string>): string {
  const cleaned = graphName
    .replaceAll(/[^A-Za-z0-9._-]+/g, "_")
    .replace(/^[^A-Za-z0-9]+/, "")
    .slice(0, 60);
  const base = isName(cleaned) ? cleaned : "output";
  let name = base;
  for (let n = 2; taken.has(name); n++) name = `${base.slice(0, 56)}_${n}`;
  taken.add(name);
  return name;
}
