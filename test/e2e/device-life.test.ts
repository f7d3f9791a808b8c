import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { replayOf, snapshotWhere, startAgentProcess } from "../kit/agent.ts";
import { eventually } from "../kit/eventually.ts";
import { startFleet } from "../kit/fleet.ts";
import { temporaryFolder } from "../kit/folder.ts";
import { runProcess } from "../kit/processes.ts";

const CLOCK_HOOK = new URL("../crash/skewed-clock.ts", import.meta.url).pathname;
const DAY_MS = 86_400_000;
const online = ({ link }: { readonly link: { readonly phase: string } }) => link.phase === "online";

/** A golden image's configuration: it names a token, and where this machine keeps its serial number. */
function imageOf(folder: string, url: string): string {
  const enrol = `enrol: {url: "${url}", tokenFile: enrol.token, device: "gw-{serial}", serialFile: serial}\n`;
  return replayOf(folder) + enrol;
}

test("a machine of a golden image enrols itself, changes its key, has its clock set, and is wiped and comes back as itself", async () => {
  const folder = temporaryFolder();
  const fleet = await startFleet(join(folder, "server"));
  const show = (device: string) => fleet.call(`GET /v1/devices/${device}`);
  const notes = async (device: string): Promise<string[]> =>
    (await fleet.call(`GET /v1/audit?caller=device:${device}&limit=1000`)).items.map(
      ({ code }: { code: string }) => code,
    );
  writeFileSync(join(folder, "shipment.csv"), "model;serial\ngw;A 1\ngw;A2\n");
  const made = await runProcess(
    "bellwether",
    [
      "enrolment-tokens",
      "create",
      "--site",
      "plant",
      "--label",
      "line=2",
      "--serial-list",
      join(folder, "shipment.csv"),
    ],
    { env: { BELLWETHER_URL: fleet.url, BELLWETHER_TOKEN_FILE: join(fleet.dir, "admin.token") } },
  );
  expect(made).toMatchObject({ ended: 0, stderr: expect.stringContaining("lets 2 device(s) in") });
  writeFileSync(join(folder, "enrol.token"), made.stdout, { mode: 0o600 });

  // A machine that is not on the list stays out, and tries again by itself once its serial number is right.
  writeFileSync(join(folder, "serial"), "B9\n");
  const stateDir = join(folder, "state");
  const agent = startAgentProcess(folder, stateDir, imageOf(folder, fleet.url));
  const said = (code: string) => eventually(code, () => agent.stderr.some((line) => line.includes(code)), 60_000);
  await said("ENROLMENT_SERIAL_UNLISTED");
  writeFileSync(join(folder, "serial"), "A 1\0\n");
  await snapshotWhere("it is online", stateDir, online);
  const { keyHex, ...first } = await show("gw-A-1");
  expect(first).toMatchObject({ phase: "active", serial: "A 1", labels: { line: "2" } });

  const running = await runProcess("bellwether-agent", ["wipe", "--yes", "--state", stateDir]);
  expect(running).toMatchObject({ ended: 1, stderr: expect.stringContaining("STATE_DIRECTORY_IN_USE") });
  const rotated = await runProcess("bellwether-agent", ["rotate-key", "--state", stateDir]);
  expect(rotated).toMatchObject({ ended: 0 });
  const { publicHex } = JSON.parse(rotated.stdout) as { publicHex: string };
  expect(publicHex).not.toBe(keyHex);
  expect((await show("gw-A-1")).keyHex).toBe(publicHex);
  await snapshotWhere("it is online with its new key", stateDir, (one) => online(one) && one.link.sessions > 1);
  expect(readdirSync(stateDir).filter((name) => name.startsWith("device.key"))).toEqual(["device.key"]);
  expect((await agent.stop()).ended).toBe(0);
  const clock = join(folder, "clock-ahead-ms");
  const env = { NODE_OPTIONS: `--import ${CLOCK_HOOK}`, CLOCK_FILE: clock };
  const again = startAgentProcess(folder, stateDir, imageOf(folder, fleet.url), { env });
  await snapshotWhere("and after a restart", stateDir, online);
  writeFileSync(clock, String(400 * DAY_MS));
  const jumped = async () => (await notes("gw-A-1")).includes("CLOCK_JUMPED");
  await eventually("the audit log hears that its clock was set", jumped, 60_000, 200);
  expect((await again.stop()).ended).toBe(0);

  const wiped = await runProcess("bellwether-agent", ["wipe", "--yes", "--state", stateDir]);
  expect(wiped).toMatchObject({ ended: 0, stderr: "" });
  expect(JSON.parse(wiped.stdout)).toMatchObject({ device: "gw-A-1", told: true });
  expect(readdirSync(stateDir)).toEqual([]);
  expect((await show("gw-A-1")).phase).toBe("wiped");
  expect((await notes("gw-A-1")).toSorted()).toEqual(["CLOCK_JUMPED", "DEVICE_WIPED", "KEY_ROTATED"]);

  // The same machine comes back as the same device, with a key of its own, and no second one beside it.
  const back = startAgentProcess(folder, stateDir, imageOf(folder, fleet.url));
  await snapshotWhere("it is back", stateDir, online);
  const { keyHex: newKey, ...reborn } = await show("gw-A-1");
  expect(reborn).toMatchObject({ phase: "active", labels: { line: "2" } });
  expect([keyHex, publicHex]).not.toContain(newKey);
  expect((await fleet.call("GET /v1/devices")).items).toHaveLength(1);
  expect((await back.stop()).ended).toBe(0);

  // A server that is away keeps nothing from being wiped; a folder that is no agent's is left alone.
  await fleet.process.stop();
  const alone = await runProcess("bellwether-agent", ["wipe", "--yes", "--state", stateDir]);
  expect(alone).toMatchObject({ ended: 0, stderr: expect.stringContaining("devices reset gw-A-1") });
  expect(existsSync(join(stateDir, "device.key"))).toBe(false);
  const home = await runProcess("bellwether-agent", ["wipe", "--yes", "--state", folder]);
  expect(home).toMatchObject({ ended: 1, stderr: expect.stringContaining("AGENT_NOT_ENROLLED") });
  expect(readFileSync(join(folder, "enrol.token"), "utf8")).not.toBe("");
});
