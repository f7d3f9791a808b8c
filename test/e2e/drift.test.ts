import { emptySketch, mergeSketches } from "@bellwether/protocol/drift/merge.ts";
import type { DriftRecord } from "@bellwether/protocol/messages/drift.ts";
import { digestOf } from "@bellwether/protocol/package/check.ts";
import { seededRandom, shuffle } from "@bellwether/protocol/random.ts";
import { referenceBytes, referenceProfile } from "@bellwether/protocol/reference/profile.ts";
import { expect, test } from "vitest";
import { type Bellwether, startBellwether } from "../kit/bellwether.ts";
import { cli } from "../kit/cli.ts";
import { connectDevice, connectMqtt, enrol, subscriber } from "../kit/device.ts";
import { heatOf, heatReference, pumpLife, pumpRecords } from "../kit/drift.ts";
import { eventually } from "../kit/eventually.ts";
import { referencesOf, type TestPackage, testPackage } from "../kit/packages.ts";

/** A model of one feature, the heat, whose reference says what its devices watch. */
const drift = heatReference("x.last");

function packageWithDrift(): TestPackage {
  const { manifest, files } = testPackage();
  const vectors = [1, 2, 3].map((x) => Float64Array.of(x));
  return {
    manifest,
    files: { ...files, reference: referenceBytes(referenceProfile(["x.last"], vectors, [10, 20, 30], drift)) },
  };
}

async function upload(server: Bellwether, { manifest, files }: TestPackage) {
  for (const bytes of Object.values(files)) {
    const headers = { "content-type": "application/octet-stream" };
    expect((await server.call(`PUT /v1/blobs/${digestOf(bytes)}`, bytes, { headers })).http).toBeLessThan(300);
  }
  return server.call("POST /v1/models/pump-rul/versions", { manifest: { ...manifest, files: referencesOf(files) } });
}

/** Records of one pump, as the version `digest` with this reference sends them. */
function recordsOf(
  seed: number,
  asset: string,
  version: { digest: string; reference: string },
  change = 0,
): DriftRecord[] {
  const life = heatOf(pumpLife(seededRandom(seed, 5), 400, { change, changeAt: 140 }));
  const records = pumpRecords(asset, life, { reference: drift, digest: version.reference });
  return records.map((record) => ({ ...record, digest: version.digest }));
}

test("windows are kept once, added up exactly, judged by cohort, and told over REST, command line and feed", async () => {
  const server = await startBellwether({ config: "drift: {tickMs: 100}\n" });
  const made = packageWithDrift();
  const uploaded = await upload(server, made);
  expect(uploaded).toMatchObject({ http: 201, body: { phase: "valid" } });
  const version = { digest: uploaded.body.manifestDigest, reference: digestOf(made.files.reference) };
  await server.call("PUT /v1/cohorts/hot", { selector: "site=plant-a" });
  await server.call("PUT /v1/cohorts/cold", { selector: "site=plant-b" });
  const reader = await connectMqtt(server, await subscriber(server, "scada", ["plant-a"]));
  expect(await reader.subscribe("bw/v1/plant-a/feed/+/drift")).toBe(0);

  const sent: DriftRecord[] = [];
  const last: (() => Promise<number>)[] = [];
  for (const [site, change] of [["plant-a", 8] as const, ["plant-b", 0] as const]) {
    for (let n = 1; n <= 3; n += 1) {
      const name = `${site}-gw-${n}`;
      const device = await connectDevice(server, await enrol(server, name, { site }));
      const records = recordsOf(site.length * 31 + n, `${name}-pump`, version, change);
      if (site === "plant-a") sent.push(...records);
      // In any order, and some of them twice under another seq, as after a crash of the device.
      const order = shuffle([...records.slice(0, -1), ...records.slice(3, 9)], seededRandom(n, 1));
      await device.acknowledged("drift", await device.send("drift", order));
      last.push(() => device.send("drift", records.slice(-1)));
    }
  }
  // One look at a shift calls nothing; the window after it does.
  await eventually("a first look", async () => {
    const { body } = await server.call("GET /v1/drift/hot/pump-rul");
    return body.verdicts?.[0]?.found === "drifted" && body.verdicts[0].devices.length === 3;
  });
  for (const send of last) await send();
  const verdict = await eventually("the verdict on the cohort that changed", async () => {
    const { body } = await server.call("GET /v1/drift/hot/pump-rul");
    return body.verdicts?.[0]?.phase === "drifted" ? body.verdicts[0] : undefined;
  });
  expect(verdict.text).toMatch(
    /^x.last up .* on 3 of 3 devices \(3 assets\) of cohort hot since 2026-01-01 .*not wear/,
  );
  const { items } = (await server.call("GET /v1/drift?model=pump-rul")).body;
  expect(items.find(({ cohort }: { cohort: string }) => cohort === "cold").phase).toBe("stable");

  const merged = (await server.call("GET /v1/drift-sketches/hot/pump-rul")).body;
  expect(merged).toMatchObject({ windows: 60, refused: 0, features: ["x.last"] });
  expect(merged.sketch).toEqual(sent.map(({ sketch }) => sketch).reduce(mergeSketches, emptySketch(drift)));

  const told = () => reader.messages.map(({ topic, text }) => ({ topic, body: JSON.parse(text) }));
  const aboutCohort = await eventually("a word for each of the three assets", () => {
    const found = told().filter(({ body }) => body.cohort === "hot" && body.phase === "drifted");
    return new Set(found.map(({ topic }) => topic)).size === 3 && found;
  });
  expect(aboutCohort[0]!.body.text).toContain("not wear");
  expect(told().some(({ body }) => body.asset === "plant-a-gw-1-pump" && /is drifted: x.last up/.test(body.text))).toBe(
    true,
  );

  const env = { BELLWETHER_URL: server.url, BELLWETHER_TOKEN: server.admin };
  const listed = await cli(["drift", "list"], env);
  expect(listed.stdout).toMatch(/hot +pump-rul +drifted/);
  expect((await cli(["drift", "show", "hot", "pump-rul"], env)).stdout).toContain("x.last");
  const windows = JSON.parse(
    (await cli(["-o", "json", "drift", "windows", "--asset", "plant-a-gw-1-pump"], env)).stdout,
  );
  expect(windows).toHaveLength(20);
  expect((await cli(["drift", "show", "nowhere", "pump-rul"], env)).exitCode).toBe(1);
});

test("a sketch with other edges is left out and told; it spoils neither the merge nor the verdict", async () => {
  const server = await startBellwether({ config: "drift: {tickMs: 100}\n" });
  const made = packageWithDrift();
  const uploaded = await upload(server, made);
  const version = { digest: uploaded.body.manifestDigest, reference: digestOf(made.files.reference) };
  await server.call("PUT /v1/cohorts/all", { selector: "site=plant-a" });
  const device = await connectDevice(server, await enrol(server, "gw-1"));
  const records = recordsOf(1, "pump-1", version);
  const spoilt = records.map((record, i) =>
    i % 5 > 0
      ? record
      : { ...record, sketch: { ...record.sketch, bins: [{ regime: 0, counts: [[record.sketch.n[0]!]] }] } },
  );
  await device.acknowledged("drift", await device.send("drift", spoilt));
  const merged = await eventually("the merge", async () => {
    const answer = await server.call("GET /v1/drift-sketches/all/pump-rul");
    return answer.http === 200 ? answer.body : undefined;
  });
  expect(merged).toMatchObject({ windows: 16, refused: 4 });
  await eventually("the word of it", () => server.log.some((line) => line.includes("DRIFT_EDGES_DIFFER")));
});

test("a reference that charts what the model has not, or holds no numbers, is refused at the upload", async () => {
  const server = await startBellwether();
  const { manifest, files } = packageWithDrift();
  const refused = async (change: object) => {
    const profile = referenceProfile(["x.last"], [Float64Array.of(1)], [10], { ...drift, ...change });
    const reference = Buffer.from(JSON.stringify(profile));
    const answer = await upload(server, { manifest, files: { ...files, reference } });
    return [answer.http, answer.body.code];
  };
  expect(await refused({ features: ["y.last"] })).toEqual([422, "REFERENCE_WRONG"]);
  expect(await refused({ rowMs: Number.NaN })).toEqual([400, "INVALID_SHAPE"]);
  expect(await refused({ healthEdges: [3, 1] })).toEqual([422, "REFERENCE_WRONG"]);
});
