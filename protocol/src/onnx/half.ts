/**
 * A tensor that ONNX Runtime's native half can read. It gives and takes halves as Float16Array, but reads them only as
 * the 16-bit numbers they are made of (1.27.0: "not enough space: expected 6, got 0"). The tensor itself is changed.
 */
export function readableHalves<T extends { readonly data: unknown }>(tensor: T): T {
  const { data } = tensor;
  if (!(data instanceof Float16Array)) return tensor;
  const bits = new Uint16Array(data.buffer, data.byteOffset, data.length);
  return Object.defineProperty(tensor, "data", { value: bits });
}
