import { Name } from "@bellwether/protocol/ids.ts";
import { err, ok } from "@bellwether/protocol/result.ts";
import { integer } from "@bellwether/protocol/schema.ts";
import { Type } from "typebox";
import { RestoreReport } from "../recovery/restored.ts";
import type { Store } from "../store/store.ts";
import { defineRoute, type Route } from "./route.ts";

const closed = { additionalProperties: false } as const;

const LostRange = Type.Object(
  {
    device: Name,
    stream: Type.String(),
    epoch: integer(),
    fromSeq: integer(),
    toSeq: integer(),
    atMs: integer(),
  },
  closed,
);
const RestoredView = Type.Object(
  {
    ...RestoreReport.properties,
    lostRecords: Type.Array(LostRange, {
      description:
        "Records that only the lost store had: devices no longer hold them. Grows as devices come back; the newest thousand.",
    }),
  },
  closed,
);

export interface RecoveryRoutesDeps {
  readonly store: Pick<Store, "ingest">;
  /** What the last restore of this server's data directory found. */
  readonly restored: RestoreReport | undefined;
}

/** What a restored server cannot have back. */
export function recoveryRoutes({ store, restored }: RecoveryRoutesDeps): Route[] {
  return [
    defineRoute({
      method: "GET",
      path: "/v1/restore",
      operation: "showRestore",
      summary: "What the last restore from a backup applied again, and what cannot be had back.",
      role: "admin",
      wholeFleet: true,
      answer: RestoredView,
      errors: ["NOT_RESTORED"],
      handler: async () => {
        if (!restored) return err("NOT_RESTORED");
        const gaps = await store.ingest.gaps({ limit: 1_000 });
        const lostRecords = gaps
          .filter(({ reason, atMs }) => reason === "lost" && atMs >= restored.restoredAtMs)
          .map(({ reason: _, ...range }) => range);
        return ok({ ...restored, lostRecords });
      },
    }),
  ];
}
