import { type Static, Type } from "typebox";
import { Digest, Name } from "../ids.ts";
import { err, ok, type Result } from "../result.ts";
import { validator } from "../schema.ts";
import { parseSelector, selects } from "../selector.ts";

/**
 * What the offline targets say of a retraining role beside its key: the one model and the one cohort it may release
 * for. The selector stands here, under the offline signature, so that the role's online key cannot widen it.
 */
export const RetrainingScope = Type.Object({
  model: Name,
  cohort: Name,
  /** Which devices are the cohort, judged by each device against its own labels. */
  selector: Type.String({ minLength: 1, maxLength: 1_000 }),
  /** Manifests the role released and the owners took back: whatever it signs, no device takes them. */
  withdrawn: Type.Array(Digest, { maxItems: 10_000 }),
});
export type RetrainingScope = Static<typeof RetrainingScope>;
export const retrainingScope = validator("The delegation", RetrainingScope);

/** Name of the role that releases what was retrained. "~" stands in no model and no cohort: two pairs never share a name. */
export function retrainingRole(model: string, cohort: string): string {
  return `retraining~${model}~${cohort}`;
}

/** Where a release stands among the targets: everybody's, or under a cohort's retraining role. */
export function releasePath(model: string, version: number | "*", cohort?: string): string {
  const folder = cohort === undefined ? `models/${model}` : `retrained/${model}/${cohort}`;
  return `${folder}/${version}/manifest.json`;
}

/**
 * Whether a device with these labels may take what a retraining role released. Fails closed: a selector that cannot be
 * read, or that is empty, selects nobody.
 */
export function withinScope(
  scope: RetrainingScope | undefined,
  release: {
    readonly model: string;
    readonly version: number;
    readonly cohort?: string;
    readonly manifestDigest: string;
  },
  labels: Readonly<Record<string, string>>,
): Result<void> {
  const { model, version, manifestDigest } = release;
  if (scope?.model !== model || scope.cohort !== release.cohort)
    return err("NOT_IN_TARGETS", { model, version, member: "cohort" });
  const { cohort } = scope;
  if (scope.withdrawn.includes(manifestDigest)) return err("RELEASE_WITHDRAWN", { model, version, cohort });
  const selector = parseSelector(scope.selector);
  if (!selector.ok || selector.value.length === 0 || !selects(selector.value, labels)) {
    return err("RELEASE_OUTSIDE_COHORT", { model, version, cohort, selector: scope.selector });
  }
  return ok(undefined);
}
