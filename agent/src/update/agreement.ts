import { err, ok, type Result } from "@bellwether/protocol/result.ts";
import type { DirectedModel } from "@bellwether/protocol/trust/director.ts";
import { withinScope } from "@bellwether/protocol/trust/releases.ts";
import type { TargetInfo } from "./metadata.worker.ts";

/**
 * A device installs only what both repositories name alike; and what a retraining role released, only when the owners'
 * own delegation gives that role this model and this device's cohort.
 */
export function agrees(
  wanted: DirectedModel,
  released: TargetInfo | undefined,
  labels: Readonly<Record<string, string>>,
): Result<void> {
  const { model, version } = wanted;
  const refuse = (member: string) => err("NOT_IN_TARGETS", { model, version, member });
  if (!released) return refuse("version");
  if (released.digest !== wanted.manifestDigest) return refuse("digest");
  if (released.length !== wanted.manifestLength) return refuse("length");
  if (released.releaseCounter !== wanted.releaseCounter) return refuse("release counter");
  if (wanted.cohort === undefined && released.scope === undefined) return ok(undefined);
  return withinScope(released.scope, wanted, labels);
}
