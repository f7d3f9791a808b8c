import { join } from "node:path";
import { ok } from "@bellwether/protocol/result.ts";
import { expect, it, onTestFinished } from "vitest";
import { cli } from "../../../test/kit/cli.ts";
import { temporaryFolder } from "../../../test/kit/folder.ts";
import { keysOf, ownedRepository } from "../../../test/kit/owner.ts";
import { testPackage } from "../../../test/kit/packages.ts";
import { memoryRoom } from "../../../test/kit/room.ts";
import { listeningApi } from "../../../test/kit/server.ts";
import { auditRoutes } from "../api/audit.ts";
import { delegationRoutes } from "../api/delegations.ts";
import { modelRoutes } from "../api/models.ts";
import { releaseRoutes } from "../api/releases.ts";
import { tokenRoutes } from "../api/tokens.ts";
import { createTokens } from "../governance/governance.io.ts";
import { openBlobs } from "../registry/blobs.io.ts";
import { createRegistry } from "../registry/registry.io.ts";
import type { DevicesStore } from "../store/devices.ts";
import type { GovernanceStore } from "../store/governance.ts";
import type { RegistryStore, ValidationReport } from "../store/registry.ts";
import { devices as deviceCommands, devicesMigrations } from "../store/sqlite/devices.ts";
import { governanceCommands, governanceMigrations } from "../store/sqlite/governance.ts";
import { registry as registryCommands, registryMigrations } from "../store/sqlite/registry.ts";

const report: ValidationReport = {
  ...{ opset: 17, nodes: 1, cases: 3, runs: 4, maxDifference: 0, loadMs: 1, p50LatencyUs: 1, p99LatencyUs: 1 },
  ...{ peakBytes: 1, wallMs: 1, scoreStd: 10 },
};

/** A server with one valid version of pump-rul and two cohorts, one of which selects everything. */
async function server() {
  const governance = memoryRoom<GovernanceStore>(governanceCommands, governanceMigrations);
  const devices = memoryRoom<DevicesStore>(deviceCommands, devicesMigrations);
  for (const [cohort, selector] of [
    ["line-3", "line=3"],
    ["all", ""],
  ] as const) {
    await devices.putCohort({ cohort: { cohort, selector, createdAtMs: 1 } });
  }
  const store = { governance, devices, registry: memoryRoom<RegistryStore>(registryCommands, registryMigrations) };
  const blobs = await openBlobs(temporaryFolder("blobs-"));
  const dir = join(temporaryFolder("repository-"), "repository");
  const repository = await ownedRepository(dir);
  const sandbox = { validate: async () => ok(report) };
  const registry = createRegistry({ store, blobs, sandbox, repository, now: Date.now, report: () => undefined });
  const tokens = createTokens(governance);
  const api = await listeningApi(governance, [
    ...tokenRoutes({ store, tokens }),
    ...auditRoutes({ store }),
    ...modelRoutes({ store, registry, blobs }),
    ...delegationRoutes({ registry, repository }),
    ...releaseRoutes({ store, registry }),
  ]);
  onTestFinished(async () => {
    await api.close();
    await registry.stop();
    await repository.close();
  });
  await registry.add({ ...testPackage(), by: "tester" });
  const env = { BELLWETHER_URL: api.url, BELLWETHER_TOKEN: api.admin, BELLWETHER_KEYS: keysOf(dir) };
  return {
    env,
    run: (...args: string[]) => cli(args, env),
    json: async (...args: string[]) => JSON.parse((await cli([...args, "-o", "json"], env)).stdout),
  };
}

it("grants, lists, switches and revokes a delegation, and every order stands in the audit log", async () => {
  const { run, json } = await server();
  const role = ["pump-rul", "line-3"];
  expect(await json("delegations", "list")).toEqual([]);
  expect((await run("delegations", "grant", "pump-rul", "line-9")).stderr).toMatch(/^RETRAINING_COHORT_UNKNOWN/);
  expect((await run("delegations", "grant", "pump-rul", "all")).stderr).toMatch(/^RETRAINING_COHORT_UNKNOWN/);
  expect((await run("models", "release", "pump-rul", "1", "--cohort", "line-3")).stderr).toMatch(
    /^RETRAINING_ROLE_UNKNOWN/,
  );
  expect((await run("delegations", "grant", ...role)).exitCode).toBe(0);
  expect((await run("delegations", "off", ...role)).exitCode).toBe(0);
  expect((await run("models", "release", "pump-rul", "1", "--cohort", "line-3")).stderr).toMatch(
    /^RETRAINING_ROLE_OFF/,
  );
  // Granting once more signs the cohort as it is now; what was switched off stays off.
  expect((await run("delegations", "grant", ...role)).exitCode).toBe(0);
  expect(await json("delegations", "list")).toMatchObject([{ enabled: false, selector: "line=3" }]);
  expect((await run("delegations", "on", ...role)).exitCode).toBe(0);
  expect((await run("models", "release", "pump-rul", "1", "--cohort", "line-3")).exitCode).toBe(0);
  expect(await json("delegations", "list")).toMatchObject([
    {
      model: "pump-rul",
      cohort: "line-3",
      enabled: true,
      versions: [{ version: 1, by: expect.stringMatching(/^token:.*:root$/) }],
      withdrawn: [],
    },
  ]);
  expect((await run("delegations", "revoke", ...role)).exitCode).toBe(0);
  expect((await run("delegations", "revoke", ...role)).stderr).toMatch(/^RETRAINING_ROLE_UNKNOWN/);
  expect(await json("models", "show", "pump-rul", "1")).toMatchObject({ phase: "withdrawn" });
  const audited = (await json("audit", "list")).map(({ operation }: { operation: string }) => operation);
  expect(new Set(audited)).toEqual(new Set(["requestRelease", "publishRelease", "releaseModelVersionForCohort"]));
});

it("lets a releaser release for a cohort, but only an administrator delegate", async () => {
  const { env, run } = await server();
  const made = await run("tokens", "create", "releaser", "--role", "releaser", "--role", "viewer");
  const releaser = { ...env, BELLWETHER_TOKEN: made.stdout.trim() };
  for (const order of ["grant", "revoke", "on", "off"]) {
    expect((await cli(["delegations", order, "pump-rul", "line-3"], releaser)).stderr).toMatch(/^FORBIDDEN/);
  }
  await run("delegations", "grant", "pump-rul", "line-3");
  const released = await cli(["models", "release", "pump-rul", "1", "--cohort", "line-3"], releaser);
  expect([released.exitCode, released.stderr]).toEqual([0, ""]);
});
