/** A place in ONNX Runtime's source with a C++ signature: "/onnxruntime_src/…/x.h:587 void f(T*) const [with T = float] ". */
const PLACE = /\/onnxruntime_src\/\S+:\d+ [^()]*\((?:[^()]|\([^()]*\))*\)(?: const)?(?: \[with [^\]]*\])? /g;

/** What ONNX Runtime says of a failure, without the places in its source, which say nothing to people. */
export function runtimeReason(cause: unknown): string {
  const text = cause instanceof Error ? cause.message : String(cause);
  const status = text.lastIndexOf("Status Message: ");
  const message = (status < 0 ? text : text.slice(status + 16)).replaceAll(PLACE, "").trim();
  return message.replace(/\.$/, "").slice(0, 300);
}
