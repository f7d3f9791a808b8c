import { aboutOf, type FeedMessage } from "@bellwether/protocol/feed.ts";
import { formatTopic } from "@bellwether/protocol/topics.ts";
import type { CohortVerdict } from "../drift/verdict.ts";

/** A new verdict on a cohort, for one of its assets. */
export function cohortDriftMessage(
  { model, cohort, phase, text, toMs }: CohortVerdict,
  { site, device, asset }: { readonly site: string; readonly device: string; readonly asset: string },
): FeedMessage {
  const origin = { device, hist: false, offsetMs: 0 };
  return {
    topic: formatTopic({ kind: "feed", site, asset, feed: "drift" }),
    body: { ...aboutOf({ asset, observedAtMs: toMs }, origin), model, phase, text, cohort },
  };
}
