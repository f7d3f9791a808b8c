import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { digestOf } from "@bellwether/protocol/package/check.ts";
import { deviceTopic } from "@bellwether/protocol/topics.ts";
import { expect, test } from "vitest";
import { type Bellwether, startBellwether } from "../kit/bellwether.ts";
import { cli } from "../kit/cli.ts";
import { connectDevice, enrol, rowsOf } from "../kit/device.ts";
import { eventually } from "../kit/eventually.ts";
import { referencesOf, testPackage } from "../kit/packages.ts";

const START_MS = Date.UTC(2026, 0, 1);
const MINUTE = 60_000;

/** A server with a model of one channel, and a device whose pump sent an hour of it. */
async function plant(server: Bellwether, site = "plant-a") {
  const { manifest, files } = testPackage();
  for (const bytes of Object.values(files)) {
    await server.call(`PUT /v1/blobs/${digestOf(bytes)}`, bytes, {
      headers: { "content-type": "application/octet-stream" },
    });
  }
  await server.call("POST /v1/models/pump-rul/versions", { manifest: { ...manifest, files: referencesOf(files) } });
  await server.call("PUT /v1/cohorts/all", { selector: `site=${site}` });
  const device = await connectDevice(server, await enrol(server, `${site}-gw`, { site }));
  const birth = {
    v: 1,
    session: 1,
    asset: "pump-1",
    index: 0,
    of: 1,
    channels: [{ channel: "x", unit: "mm/s" }],
    facts: {},
    agentVersion: "1",
  };
  await device.publish(deviceTopic(site, `${site}-gw`).up("birth"), JSON.stringify(birth));
  const rows = rowsOf("pump-1", 60, START_MS).map((row, i) => ({
    ...row,
    observedAtMs: START_MS + i * MINUTE,
    values: { x: i },
  }));
  await device.acknowledged("telemetry", await device.send("telemetry", rows));
  await eventually("the birth", async () => {
    const { body } = await server.call(`GET /v1/devices/${site}-gw`);
    return body.assets?.length > 0 || JSON.stringify(body).includes("pump-1");
  });
  return device;
}

test("outcomes are recorded whole or not at all, listed, taken back; a list sent twice is there once", async () => {
  const server = await startBellwether();
  await plant(server);
  const failure = { asset: "pump-1", kind: "failure", atMs: START_MS + 30 * MINUTE, note: "bearing" };
  const added = await server.call("POST /v1/outcomes", { outcomes: [failure] });
  expect(added).toMatchObject({ http: 201, body: { items: [{ ...failure, site: "plant-a", retracted: null }] } });
  expect((await server.call("POST /v1/outcomes", { outcomes: [failure] })).body.items[0].id).toBe(
    added.body.items[0].id,
  );

  const refused = async (change: object) => {
    const answer = await server.call("POST /v1/outcomes", {
      outcomes: [
        { ...failure, atMs: START_MS },
        { ...failure, atMs: START_MS + 1, ...change },
      ],
    });
    return [answer.http, answer.body.code];
  };
  expect(await refused({ asset: "pump-9" })).toEqual([422, "OUTCOME_ASSET_UNKNOWN"]);
  expect(await refused({ site: "plant-b" })).toEqual([422, "OUTCOME_ASSET_UNKNOWN"]);
  expect(await refused({ atMs: Date.now() + 86_400_000 })).toEqual([422, "OUTCOME_IN_FUTURE"]);
  expect(await refused({ kind: "guess" })).toEqual([400, "INVALID_SHAPE"]);
  expect((await server.call("GET /v1/outcomes")).body.items).toHaveLength(1);

  const env = { BELLWETHER_URL: server.url, BELLWETHER_TOKEN: server.admin };
  const file = join(server.dir, "outcomes.csv");
  writeFileSync(
    file,
    "asset,time,kind,note\npump-1,2026-01-01T00:10:00Z,inspection,fine\npump-1,2026-01-01T00:20,failure,\n",
  );
  const wrong = await cli(["outcomes", "import", file], env);
  expect(wrong).toMatchObject({ exitCode: 1, stderr: expect.stringContaining("Line 3") });
  writeFileSync(file, "asset,time,kind,note\npump-1,2026-01-01T00:10:00Z,inspection,fine\n");
  expect((await cli(["outcomes", "import", file], env)).stdout).toContain("inspection");
  const late = await cli(
    ["-o", "json", "outcomes", "add", "pump-1", "--kind", "false-alarm", "--at", "2026-01-01T00:15:00Z"],
    env,
  );
  const [{ id }] = JSON.parse(late.stdout);
  expect((await cli(["outcomes", "retract", String(id)], env)).exitCode).toBe(0);
  const { items } = (await server.call("GET /v1/outcomes?cohort=all&asset=pump-1")).body;
  expect(items.map(({ kind, retracted }: { kind: string; retracted: unknown }) => [kind, retracted !== null])).toEqual([
    ["failure", false],
    ["inspection", false],
    ["false-alarm", true],
  ]);
  expect((await server.call("POST /v1/outcomes/999/retract")).body.code).toBe("NOT_FOUND");
});

test("a snapshot is a history of what the fleet committed; made again it is the same, and later news do not change it", async () => {
  const server = await startBellwether();
  const device = await plant(server);
  const request = { cohort: "all", model: "pump-rul", cutOffMs: START_MS + 45 * MINUTE };
  expect((await server.call("POST /v1/snapshots", request)).body.code).toBe("SNAPSHOT_NO_LABELS");
  await server.call("POST /v1/outcomes", {
    outcomes: [{ asset: "pump-1", kind: "failure", atMs: START_MS + 40 * MINUTE }],
  });
  const knownAtMs = Date.now();
  const first = await server.call("POST /v1/snapshots", { ...request, knownAtMs, label: "first" });
  expect(first).toMatchObject({
    http: 201,
    body: {
      report: { rows: 46, assets: 1, failures: 1 },
      request: { fleet: { cohort: "all", selector: "site=plant-a", devices: ["plant-a-gw"] } },
    },
  });
  await eventually("a later millisecond", () => Date.now() > knownAtMs);
  await server.call("POST /v1/outcomes", {
    outcomes: [{ asset: "pump-1", kind: "failure", atMs: START_MS + 20 * MINUTE }],
  });
  const late = rowsOf("pump-1", 1, START_MS + 30_000).map((row) => ({ ...row, values: { x: 5 } }));
  await device.acknowledged("telemetry", await device.send("telemetry", late, { hist: true }));
  const again = await server.call("POST /v1/snapshots", { ...request, knownAtMs });
  expect(again.body.snapshot).toBe(first.body.snapshot);
  const other = await server.call("POST /v1/snapshots", request);
  expect(other.body.snapshot).not.toBe(first.body.snapshot);
  expect(other.body.report).toMatchObject({ rows: 47, failures: 2 });

  const code = async (change: object) => (await server.call("POST /v1/snapshots", { ...request, ...change })).body.code;
  expect(await code({ cohort: "nowhere" })).toBe("NOT_FOUND");
  expect(await code({ model: "nothing" })).toBe("NOT_FOUND");
  expect(await code({ cutOffMs: Date.now() + 1e6 })).toBe("SNAPSHOT_IN_FUTURE");
  const unknown = await server.call("POST /v1/snapshots", { ...request, knownAtMs: Date.now() + 1e6 });
  expect(unknown.body).toMatchObject({
    code: "SNAPSHOT_IN_FUTURE",
    detail: expect.stringMatching(/^The time of what is known 20/),
  });
  expect(await code({ cutOffMs: START_MS - 1 })).toBe("SNAPSHOT_NO_ROWS");
  const env = { BELLWETHER_URL: server.url, BELLWETHER_TOKEN: server.admin };
  const listed = await cli(
    ["history", "snapshot", "--cohort", "all", "--model", "pump-rul", "--cut-off", "2026-01-01T00:45:00Z"],
    env,
  );
  expect(listed).toMatchObject({ exitCode: 0, stdout: expect.stringContaining("47") });
});
