import type { InferenceRecord, TelemetryRow } from "@bellwether/protocol/messages/stream.ts";
import { deviceTopic } from "@bellwether/protocol/topics.ts";
import { expect, test } from "vitest";
import type { HistorySnapshot } from "../../fleet-server/src/retraining/history/snapshot.ts";
import { type Bellwether, startBellwether } from "../kit/bellwether.ts";
import { cli } from "../kit/cli.ts";
import { type ConnectedDevice, connectDevice, enrol } from "../kit/device.ts";
import { pumpHistory } from "../kit/drift.ts";
import { eventually } from "../kit/eventually.ts";
import { asOwner, releaseVersion } from "../kit/release.ts";

const UNITS = { speed: "/min", heat: "Cel", vibration: "mm/s", hours: "h" };
const START_MS = Date.UTC(2026, 0, 1);
const LIMIT_MS = 90_000;

function csvOf({ channels, assets }: HistorySnapshot): string {
  const lines = assets.flatMap(({ asset, timesMs, channels: columns }) =>
    Array.from(timesMs, (atMs, row) =>
      [asset, new Date(START_MS + atMs).toISOString(), ...columns.map((column) => column[row])].join(","),
    ),
  );
  return [["asset", "time", ...channels.map(({ channel }) => channel)].join(","), ...lines, ""].join("\n");
}

/** A first version, trained from imported pumps that ran to failure, and released by the administrator. */
async function champion(server: Bellwether): Promise<{ version: number; digest: string }> {
  const csv = csvOf(pumpHistory(10, 240));
  const file = await server.call("POST /v1/history-files", csv, { headers: { "content-type": "text/csv" } });
  const request = { samples: { digest: file.body.digest }, label: "past", runToFailure: true, units: UNITS };
  expect((await server.call("POST /v1/histories", request)).http).toBe(201);
  const run = await server.call("POST /v1/training-runs", {
    model: "pump-rul",
    history: "past",
    target: { kind: "rul", cap: 100 },
    parameters: { trees: 150, learningRate: 0.1 },
    features: { channels: ["speed", "heat", "vibration"], age: false, relative: [] },
  });
  const trained = await eventually(
    "the first version",
    async () => (await server.call(`GET /v1/training-runs/${run.body.id}`)).body.result ?? undefined,
    LIMIT_MS,
  );
  await releaseVersion(server, "pump-rul", trained.version);
  return { version: trained.version, digest: trained.manifestDigest };
}

/** A gateway with two pumps whose vibration sensor reads 2.5 more than those of the past, until they fail. */
async function gateway(server: Bellwether, number: number, active: { version: number; digest: string }) {
  const name = `gw-${number}`;
  const device = await connectDevice(server, await enrol(server, name));
  const topics = deviceTopic("plant-a", name);
  const { assets } = pumpHistory(2, 240, 60 + number);
  const failures = [];
  for (const [index, { timesMs, channels }] of assets.entries()) {
    const asset = `line-${number}-pump-${index + 1}`;
    const birth = {
      v: 1,
      session: 1,
      asset,
      index,
      of: assets.length,
      channels: Object.entries(UNITS).map(([channel, unit]) => ({ channel, unit })),
      facts: {},
      agentVersion: "1",
    };
    await device.publish(topics.up("birth"), JSON.stringify(birth));
    const rows = Array.from(timesMs, (atMs, row): TelemetryRow => {
      const [speed, heat, vibration, hours] = channels.map((column) => column[row]!) as [
        number,
        number,
        number,
        number,
      ];
      return { asset, observedAtMs: START_MS + atMs, values: { speed, heat, vibration: vibration + 2.5, hours } };
    });
    await device.acknowledged("telemetry", await device.send("telemetry", rows));
    failures.push({ asset, kind: "failure", atMs: rows.at(-1)!.observedAtMs });
  }
  const models = [{ model: "pump-rul", phase: "idle", active }];
  const reported = { v: 1, session: 1, rev: 1, directorVersion: 0, models, refusals: [] };
  await device.publish(topics.up("reported"), JSON.stringify(reported));
  await eventually(`what ${name} runs`, async () => {
    const { body } = await server.call(`GET /v1/devices/${name}`);
    return JSON.stringify(body).includes(active.digest) && body.assets?.length !== 0;
  });
  return { device, failures };
}

async function predict(
  device: ConnectedDevice,
  asset: string,
  { version, digest }: { version: number; digest: string },
) {
  const record: InferenceRecord = { asset, observedAtMs: START_MS, model: "pump-rul", version, digest, value: 42 };
  await device.acknowledged("inference", await device.send("inference", [record]));
}

test("a cohort is retrained from its own samples and outcomes, proposed, approved, released for it alone; every prediction can be followed back", async () => {
  const server = await startBellwether({ config: "retraining: {tickMs: 100}\n" });
  const first = await champion(server);
  await server.call("PUT /v1/cohorts/line", { selector: "site=plant-a" });
  const gateways = [];
  for (const number of [1, 2, 3, 4]) gateways.push(await gateway(server, number, first));
  const ask = { model: "pump-rul", cohort: "line", holdoutAssets: ["line-4-pump-2"] };
  const refused = await server.call("POST /v1/retrainings", ask);
  expect([refused.http, refused.body.code]).toEqual([422, "RETRAINING_ASSETS_TOO_FEW"]);
  await server.call("POST /v1/outcomes", { outcomes: gateways.flatMap(({ failures }) => failures) });

  const started = await server.call("POST /v1/retrainings", ask);
  expect(started).toMatchObject({ http: 201, body: { phase: "requested", trigger: "asked", labelledAssets: 7 } });
  expect((await server.call("POST /v1/retrainings", ask)).body.code).toBe("CONFLICT");
  const path = `/v1/retrainings/${started.body.id}`;
  const proposed = await eventually(
    "a proposal",
    async () => {
      const { body } = await server.call(`GET ${path}`);
      if (body.phase === "failed") throw new Error(JSON.stringify(body.error));
      return body.phase === "proposed" ? body : undefined;
    },
    LIMIT_MS,
  );
  const { result } = proposed;
  expect(result.assets).not.toContain("line-4-pump-2");
  expect(result.holdoutAssets).toEqual(["line-4-pump-2"]);
  expect(result.assets).toHaveLength(7);
  const chosen = result.candidates.find(({ candidate }: { candidate: string }) => candidate === result.chosen);
  expect(chosen.upper).toBeLessThan(1);
  expect(chosen.rmse).toBeLessThan(0.7 * result.championRmse);
  // Nobody has released it: no device is asked to run it, and none would.
  expect((await server.call(`GET /v1/models/pump-rul/versions/${proposed.version}`)).body.phase).toBe("valid");

  await asOwner(server, "delegations", "grant", "pump-rul", "line");
  expect((await server.call(`POST ${path}/approve`)).body).toMatchObject({ phase: "releasing" });
  const rolling = await eventually("its rollout", async () => {
    const { body } = await server.call(`GET ${path}`);
    if (body.phase === "failed") throw new Error(JSON.stringify(body.error));
    return body.phase === "rollingOut" ? body : undefined;
  });
  expect(rolling.approvedBy).toMatch(/^token:/);
  expect((await server.call(`GET /v1/rollouts/${rolling.rolloutId}`)).body.selector).toBe("site=plant-a");
  expect((await server.call(`POST ${path}/reject`)).body.code).toBe("CONFLICT");

  const { device } = gateways[0]!;
  await predict(device, "line-1-pump-1", first);
  await predict(device, "line-1-pump-1", { version: rolling.version, digest: rolling.digest });
  const { items } = (await server.call("GET /v1/predictions?model=pump-rul")).body;
  const lineageOf = async (version: number) => {
    const { id } = items.find((one: { version: number }) => one.version === version);
    return (await server.call(`GET /v1/predictions/${id}/lineage`)).body;
  };
  const old = await lineageOf(first.version);
  expect(old).toMatchObject({
    prediction: { asset: "line-1-pump-1", value: 42 },
    model: { digest: first.digest, seed: 1, parent: null },
    run: { kind: "training", request: { history: "past" } },
    snapshots: [{ label: "past", origin: "imported", assets: 10 }],
    approver: { by: expect.stringMatching(/^token:/), scope: "every device" },
  });
  const now = await lineageOf(rolling.version);
  expect(now).toMatchObject({
    model: { digest: rolling.digest, trainer: "bellwether-gbdt/1", seed: 1, parent: first.digest },
    run: { kind: "retraining", id: started.body.id, request: { cohort: "line", champion: { digest: first.digest } } },
    snapshots: [
      { origin: "fleet", assets: 8, failures: 8 },
      { origin: "imported", label: "past" },
    ],
    approver: { by: rolling.approvedBy, scope: "cohort line" },
  });
  const env = { BELLWETHER_URL: server.url, BELLWETHER_TOKEN: server.admin };
  const told = await cli(["lineage", String(now.prediction.id)], env);
  for (const part of [rolling.digest, started.body.id, now.snapshots[0].digest, "cohort line"]) {
    expect(told.stdout).toContain(part);
  }
  expect((await server.call("GET /v1/predictions/999999/lineage")).body.code).toBe("NOT_FOUND");
  const measured = await cli(["performance", "pump-rul", "--cohort", "line"], env);
  expect(measured.stdout).toMatch(/all +2/);
  expect((await cli(["retraining", "show", started.body.id], env)).stdout).toContain("cohort-only");
});

test("policies are kept, listed and removed; wrong ones are refused", async () => {
  const server = await startBellwether();
  const env = { BELLWETHER_URL: server.url, BELLWETHER_TOKEN: server.admin };
  const set = [
    "retraining",
    "policies",
    "set",
    "pump-rul",
    "line",
    "--mode",
    "auto",
    "--holdout",
    "a",
    "--labelled-assets",
    "5",
  ];
  expect((await cli(set, env)).exitCode).toBe(0);
  expect((await server.call("GET /v1/retraining-policies")).body.items).toMatchObject([
    { model: "pump-rul", cohort: "line", mode: "auto", holdoutAssets: ["a"], labelledAssetsMin: 5 },
  ]);
  const wrong = async (body: object) =>
    (await server.call("PUT /v1/retraining-policies/pump-rul/line", body)).body.code;
  expect(await wrong({ mode: "guess" })).toBe("INVALID_SHAPE");
  expect(await wrong({ labelledAssetsMin: 1 })).toBe("INVALID_SHAPE");
  // What the rollout will be told is judged now: later nobody is there to be told that it is wrong.
  expect(await wrong({ rollout: { waves: [1] } })).toBe("INVALID_SHAPE");
  expect(await wrong({ rollout: { gateTimeoutMinutes: 1e300 } })).toBe("INVALID_SHAPE");
  expect((await cli(["retraining", "policies", "remove", "pump-rul", "line"], env)).exitCode).toBe(0);
  expect((await server.call("DELETE /v1/retraining-policies/pump-rul/line")).body.code).toBe("NOT_FOUND");
  expect((await server.call("GET /v1/retrainings/rt-0")).body.code).toBe("NOT_FOUND");
});
