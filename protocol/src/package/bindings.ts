import type { CheckedModel, ModelInput } from "../onnx/static-check.ts";
import { err, ok, type Result } from "../result.ts";
import type { Manifest, TensorBinding } from "./manifest.ts";

/**
 * Whether a manifest binds this very model: every graph input once, with its type and shape, only outputs that can be
 * fetched, the operator set it is written for. `BINDING_WRONG` names the place.
 */
export function checkBindings(
  manifest: Pick<Manifest, "tensors" | "outputs" | "compatibility">,
  model: CheckedModel,
): Result<void> {
  const bindings = new Map(manifest.tensors.map((binding) => [binding.input, binding]));
  for (const input of model.inputs) {
    const binding = bindings.get(input.name);
    if (binding === undefined)
      return wrong(`tensors/${input.name}`, "the model has this input, and nothing is bound to it");
    bindings.delete(input.name);
    const reason = mismatch(binding, input);
    if (reason !== undefined) return wrong(`tensors/${input.name}`, reason);
  }
  const [extra] = bindings.keys();
  if (extra !== undefined) return wrong(`tensors/${extra}`, "the model has no such input");
  for (const { name, output } of manifest.outputs) {
    const found = model.outputs.find((one) => one.name === output);
    if (found === undefined) return wrong(`outputs/${name}`, `the model has no output ${output}`);
    if (!found.fetchable) {
      const kind = found.kind === "tensor" ? `a tensor of ${found.type}` : `a ${found.kind}`;
      return wrong(`outputs/${name}`, `${output} is ${kind}, which cannot be read`);
    }
  }
  const { opset } = manifest.compatibility;
  if (opset !== model.opset) return wrong("compatibility/opset", `the model uses ${model.opset}, not ${opset}`);
  return ok(undefined);
}

/** Why this binding cannot feed this input. */
function mismatch({ type, shape }: TensorBinding, input: ModelInput): string | undefined {
  if (type !== input.type) return `the model takes ${input.type}, not ${type}`;
  // A file that says nothing about the shape is judged by its golden run.
  if (input.shape === undefined) return undefined;
  const said = `[${shape.join(", ")}]`;
  const wants = `[${input.shape.map((size) => size || "?").join(", ")}]`;
  if (shape.length !== input.shape.length) return `the model takes ${wants}, not ${said}`;
  const other = input.shape.findIndex((size, i) => typeof size === "number" && size !== shape[i]);
  return other < 0 ? undefined : `the model takes ${wants}, not ${said}`;
}

function wrong(path: string, reason: string) {
  return err("BINDING_WRONG", { path, reason });
}
