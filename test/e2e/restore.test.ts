import { cpSync, readdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { replayOf, snapshotWhere, startAgentProcess } from "../kit/agent.ts";
import { startBellwether } from "../kit/bellwether.ts";
import { connectDevice, enrol, rowsOf } from "../kit/device.ts";
import { eventually } from "../kit/eventually.ts";
import { enrolDevice, startFleet, type TestFleet } from "../kit/fleet.ts";
import { temporaryFolder } from "../kit/folder.ts";
import { runProcess } from "../kit/processes.ts";
import { updateDevice } from "../kit/release.ts";

const portOf = (url: string) => Number(new URL(url).port);

/** The `x` of a device's committed rows, in the order of seq: 1, 2, 3, … where nothing is missing and nothing is there twice. */
async function committed(fleet: TestFleet): Promise<number[]> {
  return (await fleet.samples("?device=edge-1")).map(({ values }) => values["x"] as number);
}

async function timestampVersion(fleet: TestFleet): Promise<number> {
  const file = join(fleet.dir, "repository/metadata/timestamp.json");
  return (JSON.parse(readFileSync(file, "utf8")) as { signed: { version: number } }).signed.version;
}

async function command(...args: string[]) {
  const { ended, stdout, stderr } = await runProcess("bellwether", ["-o", "json", ...args]);
  return { ended, stderr, value: ended === 0 ? JSON.parse(stdout) : undefined };
}

test("a server restored from yesterday's backup gets back what devices hold, stays above what they have seen, and revokes again", async () => {
  const folder = temporaryFolder();
  const dir = join(folder, "server");
  const settings = "rollouts: {tickMs: 200}\n";
  const fleet = await startFleet(dir, { settings });
  const ports = { port: portOf(fleet.url), mqttPort: portOf(fleet.mqttUrl) };
  await enrolDevice(fleet, join(folder, "edge-1"), "edge-1");
  await enrolDevice(fleet, join(folder, "edge-2"), "edge-2");
  const viewer = await fleet.call("POST /v1/tokens", { name: "dashboard", roles: ["viewer"] });
  const agent = startAgentProcess(folder, join(folder, "edge-1"), replayOf(folder));
  await updateDevice(fleet, "edge-1");

  const out = join(folder, "backup");
  const backup = await command("backup", "--dir", dir, "--out", out);
  expect(backup.ended, backup.stderr).toBe(0);
  const copied = readdirSync(out, { recursive: true }) as string[];
  expect(copied).toEqual(
    expect.arrayContaining(["backup.json", "fleet.sqlite", "server.json", "repository/state.json"]),
  );
  // Nobody who has it may release, nor administer: release keys were never in the data directory, and the token is left out.
  expect(copied.filter((path) => /release|admin\.token|-keys/.test(path))).toEqual([]);

  // What comes after it: rows, a document with a higher number, revocations, another change.
  const before = (await committed(fleet)).length;
  const { id } = await fleet.call("POST /v1/rollouts", {
    model: "pump-rul",
    version: "1",
    target: { selector: "" },
    waves: [{ name: "all", targetPercentage: 100, soakMinutes: 0, errorAction: "PAUSE" }],
    confirm: { inferences: 20, soakSeconds: 1, deadlineSeconds: 60, errorFraction: 0.1 },
  });
  await fleet.call(`POST /v1/rollouts/${id}/start`);
  const documentOf = async (of: TestFleet) => (await of.call("GET /v1/devices/edge-1")).directorVersion as number;
  await eventually("the device has taken the next document", async () => (await documentOf(fleet)) >= 2);
  await fleet.call("POST /v1/devices/edge-2/revoke");
  await fleet.call(`POST /v1/tokens/${viewer.token.id}/revoke`);
  await fleet.call("PUT /v1/cohorts/line-2", { selector: "line=2" });
  await eventually("more rows", async () => (await committed(fleet)).length > before + 100);
  const seen = await timestampVersion(fleet);
  fleet.process.signal("SIGKILL");
  await fleet.process.ended;
  renameSync(dir, join(folder, "lost"));

  const restored = await command("restore", "--from", out, "--dir", dir);
  expect(restored.ended, restored.stderr).toBe(0);
  expect(restored.value.revocations.map(({ target, applied }: Record<string, string>) => [target, applied])).toEqual([
    ["POST /v1/devices/edge-2/revoke", "again"],
    [`POST /v1/tokens/${viewer.token.id}/revoke`, "again"],
  ]);
  const lost = restored.value.lostChanges.map(({ operation }: { operation: string }) => operation);
  expect(lost).toEqual(["createRollout", "orderRollout", "putCohort"]);

  const again = await startFleet(dir, { settings, ...ports });
  expect(await timestampVersion(again)).toBeGreaterThan(seen + 1_000);
  // Row by row from the first: what the backup lacks came from the device, what it has is not there twice.
  const rows = await eventually(
    "what was lost, sent again",
    async () => {
      const found = await committed(again);
      return found.length > before + 200 && found;
    },
    60_000,
  );
  expect(rows).toEqual(rows.map((_, index) => index + 1));
  expect((await again.call("GET /v1/gaps")).items).toEqual([]);
  // The device takes the restored server's word: its document at once, and a new version with its metadata.
  await eventually("the device takes its document", async () => (await documentOf(again)) > 1_000);
  await updateDevice(again, "edge-1");
  await snapshotWhere("it runs", join(folder, "edge-1"), ({ refusals }) => refusals.length === 0);
  expect((await again.call("GET /v1/devices/edge-2")).phase).toBe("revoked");
  const answer = await fetch(`${again.url}/v1/devices`, { headers: { authorization: `Bearer ${viewer.secret}` } });
  expect(answer.status).toBe(401);
  expect((await again.call("GET /v1/restore")).lostChangesTotal).toBe(3);
  expect((await agent.stop()).ended).toBe(0);
  expect((await again.process.stop()).ended).toBe(0);
}, 180_000);

test("a restore refuses what is damaged, half or in the way, and lists the records that nobody holds any more", async () => {
  const folder = temporaryFolder();
  const dir = join(folder, "server");
  const server = await startBellwether({ dir });
  const gateway = await enrol(server, "gw-1");
  const out = join(folder, "backup");
  expect((await command("backup", "--dir", dir, "--out", out)).ended).toBe(0);
  expect((await command("backup", "--dir", dir, "--out", out)).stderr).toContain("BACKUP_NOT_EMPTY");
  expect((await command("backup", "--dir", folder, "--out", join(folder, "x"))).stderr).toContain(
    "BACKUP_NOT_A_SERVER",
  );
  const device = await connectDevice(server, gateway);
  await device.acknowledged("telemetry", await device.send("telemetry", rowsOf("pump-1", 10)));
  await server.stop("SIGKILL");

  expect((await command("restore", "--from", out, "--dir", dir)).stderr).toContain("RESTORE_NOT_EMPTY");
  const target = join(folder, "restored");
  for (const [file, spoil] of [
    ["fleet.sqlite", (bytes: Buffer) => bytes.fill(7, 5_000, 5_100)],
    ["server.json", (bytes: Buffer) => bytes.subarray(1)],
  ] as const) {
    const damaged = join(folder, `damaged-${file}`);
    cpSync(out, damaged, { recursive: true });
    writeFileSync(join(damaged, file), spoil(readFileSync(join(damaged, file))));
    expect((await command("restore", "--from", damaged, "--dir", target)).stderr).toContain("BACKUP_DAMAGED");
  }
  cpSync(out, join(folder, "half"), { recursive: true, filter: (path) => !path.endsWith("backup.json") });
  expect((await command("restore", "--from", join(folder, "half"), "--dir", target)).stderr).toContain(
    "BACKUP_INCOMPLETE",
  );

  expect((await command("restore", "--from", out, "--dir", target, "--journal", `${dir}-journal`)).ended).toBe(0);
  const back = await startBellwether({ dir: target });
  const returned = await connectDevice(back, gateway, { session: 2, quiet: true });
  await returned.state({ epoch: "00000000000000ab", streams: [{ stream: "telemetry", firstHeld: 11, next: 21 }] });
  const told = await eventually("what nobody holds", async () => {
    const { body } = await back.call("GET /v1/restore");
    return body.lostRecords.length > 0 && body.lostRecords;
  });
  expect(told).toMatchObject([{ device: "gw-1", stream: "telemetry", fromSeq: 1, toSeq: 10 }]);
  const env = { BELLWETHER_URL: back.url, BELLWETHER_TOKEN: back.admin };
  expect((await runProcess("bellwether", ["restored"], { env })).stdout).toMatch(/gw-1 +telemetry +10$/);
}, 180_000);
