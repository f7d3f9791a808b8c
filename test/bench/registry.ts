import { agentPath } from "./agent/agent-path.ts";
import { apiList } from "./api/api-list.ts";
import type { Bench, Beside } from "./bench.ts";
import { connections, connectionsBeside } from "./connections/connections.ts";
import { driftFold } from "./drift/drift-fold.ts";
import { footprint } from "./footprint/footprint.ts";
import { gbdtTrain } from "./gbdt/gbdt-train.ts";
import { ingest, ingestMosquitto, ingestOf, ingestSubscribed } from "./ingest/ingest.ts";
import { outboxAppend } from "./outbox/outbox-append.ts";
import { queryYear } from "./query/query-year.ts";
import { tests } from "./tests.ts";
import { updateE2e } from "./update/e2e.ts";
import { updateNoop } from "./update/noop.ts";
import { wireBytes } from "./wire/wire-bytes.ts";

/** Other names of benchmarks: of one that was the first of several sizes. */
export const ALIASES: Readonly<Record<string, string>> = { "ingest-100B": "ingest" };

/** Every benchmark by name, in the order in which they run and are told. */
export const BENCHES: Readonly<Record<string, Bench | Beside>> = {
  "agent-path": agentPath(1, 0.6),
  "agent-path-32": agentPath(32, 2.2),
  ingest,
  "ingest-mosquitto": ingestMosquitto,
  "ingest-1kB": ingestOf("1kB"),
  "ingest-10kB": ingestOf("10kB"),
  "ingest-100B-subscribed": ingestSubscribed("100B"),
  "ingest-1kB-subscribed": ingestSubscribed("1kB"),
  "ingest-10kB-subscribed": ingestSubscribed("10kB"),
  "connections-10k": connections,
  ...connectionsBeside,
  "outbox-append": outboxAppend,
  "agent-footprint": footprint("mb", 115),
  "agent-start": footprint("ms", 500),
  "api-list": apiList,
  "query-year": queryYear,
  "wire-bytes": wireBytes,
  "gbdt-train": gbdtTrain,
  "drift-fold": driftFold,
  "update-noop": updateNoop,
  "update-e2e": updateE2e,
  tests,
};
