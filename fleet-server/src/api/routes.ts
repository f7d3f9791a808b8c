import type { Metrics } from "../metrics/metrics.ts";
import type { GovernanceStore } from "../store/governance.ts";
import { auditRoutes } from "./audit.ts";
import { cohortRoutes } from "./cohorts.ts";
import { type DelegationRoutesDeps, delegationRoutes } from "./delegations.ts";
import { type DeviceRoutesDeps, deviceRoutes } from "./devices.ts";
import { type DriftRoutesDeps, driftRoutes } from "./drift.ts";
import { type EnrolmentRoutesDeps, enrolmentRoutes } from "./enrolment.ts";
import { type HistoryRoutesDeps, historyRoutes } from "./histories.ts";
import { type LineageRoutesDeps, lineageRoutes } from "./lineage.ts";
import { metricsRoutes } from "./metrics.ts";
import { type ModelRoutesDeps, modelRoutes } from "./models.ts";
import { withOpenApi } from "./openapi.ts";
import { type OutcomeRoutesDeps, outcomeRoutes } from "./outcomes.ts";
import { type PerformanceRoutesDeps, performanceRoutes } from "./performance.ts";
import { type RecoveryRoutesDeps, recoveryRoutes } from "./recovery.ts";
import { type ReleaseRoutesDeps, releaseRoutes } from "./releases.ts";
import { type RepositoryRoutesDeps, repositoryRoutes } from "./repository.ts";
import { type RetrainingRoutesDeps, retrainingRoutes } from "./retraining.ts";
import { type RolloutRoutesPorts, rolloutRoutes } from "./rollouts.ts";
import type { Route } from "./route.ts";
import { type SampleRoutesDeps, sampleRoutes } from "./samples.ts";
import { type SeriesRoutesDeps, seriesRoutes } from "./series.ts";
import { type ServerRouteDeps, serverRoutes } from "./server.ts";
import { type SubscriberRoutesDeps, subscriberRoutes } from "./subscribers.ts";
import { type TokenRoutesDeps, tokenRoutes } from "./tokens.ts";
import { type TrainingRoutesDeps, trainingRoutes } from "./training.ts";

/** What the rooms' routes need; app.ts gives the real things, the OpenAPI document is made without them. */
export interface RouteDeps {
  readonly server: ServerRouteDeps;
  readonly metrics: { readonly metrics: Metrics };
  readonly tokens: TokenRoutesDeps;
  readonly audit: { readonly store: { readonly governance: GovernanceStore } };
  readonly enrolment: EnrolmentRoutesDeps;
  readonly devices: DeviceRoutesDeps;
  readonly samples: SampleRoutesDeps;
  readonly series: SeriesRoutesDeps;
  readonly recovery: RecoveryRoutesDeps;
  readonly subscribers: SubscriberRoutesDeps;
  readonly repository: RepositoryRoutesDeps;
  readonly models: ModelRoutesDeps;
  readonly delegations: DelegationRoutesDeps;
  readonly releases: ReleaseRoutesDeps;
  readonly rollouts: RolloutRoutesPorts;
  readonly drift: DriftRoutesDeps;
  readonly outcomes: OutcomeRoutesDeps;
  readonly performance: PerformanceRoutesDeps;
  readonly lineage: LineageRoutesDeps;
  readonly histories: HistoryRoutesDeps;
  readonly training: TrainingRoutesDeps;
  readonly retraining: RetrainingRoutesDeps;
}

/** Every route of the server. A room adds its line here. */
export function allRoutes(deps: RouteDeps): Route[] {
  return withOpenApi(
    [
      ...serverRoutes(deps.server),
      ...metricsRoutes(deps.metrics),
      ...tokenRoutes(deps.tokens),
      ...auditRoutes(deps.audit),
      ...enrolmentRoutes(deps.enrolment),
      ...deviceRoutes(deps.devices),
      ...cohortRoutes(deps.devices),
      ...sampleRoutes(deps.samples),
      ...seriesRoutes(deps.series),
      ...recoveryRoutes(deps.recovery),
      ...subscriberRoutes(deps.subscribers),
      ...repositoryRoutes(deps.repository),
      ...modelRoutes(deps.models),
      ...delegationRoutes(deps.delegations),
      ...releaseRoutes(deps.releases),
      ...rolloutRoutes(deps.rollouts),
      ...driftRoutes(deps.drift),
      ...outcomeRoutes(deps.outcomes),
      ...performanceRoutes(deps.performance),
      ...lineageRoutes(deps.lineage),
      ...historyRoutes(deps.histories),
      ...trainingRoutes(deps.training),
      ...retrainingRoutes(deps.retraining),
    ],
    deps.server.version,
  );
}

/**
 * Every route without anything behind it, for what only looks at declarations: the documents and tests. Calling a
 * handler of these is a broken invariant.
 */
export function declaredRoutes(version: string): Route[] {
  const nothing = <T extends object>(): T => {
    const handler: ProxyHandler<T> = {
      get(_target, name) {
        if (name === "version") return version;
        return nothing<() => void>();
      },
      apply() {
        throw new Error("nothing stands behind the declared routes");
      },
    };
    return new Proxy((() => {}) as object as T, handler);
  };
  return allRoutes(nothing<RouteDeps>());
}
