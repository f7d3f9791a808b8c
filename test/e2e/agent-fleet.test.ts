import { join } from "node:path";
import { expect, test } from "vitest";
import { snapshotWhere, startAgentProcess } from "../kit/agent.ts";
import { eventually } from "../kit/eventually.ts";
import { enrolDevice, type SampleRow, startFleet } from "../kit/fleet.ts";
import { temporaryFolder } from "../kit/folder.ts";
import { runProcess } from "../kit/processes.ts";

const ROWS = 60;
const config = `
heartbeatMs: 500
assets: [{id: pump-1}, {id: pump-2}]
inputs:
  - {id: sim, type: simulator, seed: 7, stepMs: 60000, start: "2026-01-01T00:00:00Z", rowsPerSecond: 100, rows: ${ROWS}}
`;

const keyOf = ({ asset, observedAtMs }: Pick<SampleRow, "asset" | "observedAtMs">) => `${asset}@${observedAtMs}`;

/** The rows the agent must send, made again by the `simulate` command. */
async function expectedRows(folder: string): Promise<Map<string, Map<string, number>>> {
  const { stdout } = await runProcess("bellwether-agent", ["simulate", "--config", join(folder, "agent.yaml")]);
  const [head, ...lines] = stdout.split("\n");
  const names = head!.split(",");
  const rows = new Map<string, Map<string, number>>();
  for (const line of lines) {
    const cells = line.split(",");
    const cell = (name: string) => cells[names.indexOf(name)]!;
    const values = names.flatMap((name, i) =>
      name === "asset" || name === "time" || cells[i] === "" ? [] : [[name, Number(cells[i])] as const],
    );
    rows.set(`${cell("asset")}@${Date.parse(cell("time"))}`, new Map(values));
  }
  return rows;
}

test("a device enrols, connects, and every row it took is stored at the server exactly once, value by value", async () => {
  const folder = temporaryFolder();
  const fleet = await startFleet(join(folder, "server"));
  const stateDir = join(folder, "edge-1");
  await enrolDevice(fleet, stateDir, "edge-1", {}, "--label", "line=3", "--label", "hall=north");
  const agent = startAgentProcess(folder, stateDir, config);
  await snapshotWhere("everything is acknowledged", stateDir, ({ link, pipeline }) => {
    return link.phase === "online" && pipeline?.rows === 2 * ROWS && pipeline.outbox.unacked === 0;
  });

  const [samples, expected] = await Promise.all([fleet.samples(), expectedRows(folder)]);
  expect(samples).toHaveLength(2 * ROWS);
  expect(new Set(samples.map(keyOf))).toEqual(new Set(expected.keys()));
  for (const sample of samples) {
    const known = Object.entries(sample.values).filter(([, value]) => value !== null);
    expect(new Map(known)).toEqual(expected.get(keyOf(sample)));
  }
  // Stored order is the order of seq.
  expect(samples.map(({ seq }) => seq)).toEqual(Array.from({ length: 2 * ROWS }, (_, i) => i + 1));

  const device = await fleet.call("GET /v1/devices/edge-1");
  expect(device).toMatchObject({ device: "edge-1", presence: "online", facts: { line: "3", hall: "north" } });
  expect((await agent.stop()).ended).toBe(0);
  await eventually("the goodbye arrived", async () => {
    return (await fleet.call("GET /v1/devices/edge-1")).presence === "offline";
  });
  expect((await fleet.process.stop()).ended).toBe(0);
});

test("killed agent, killed server, nothing lost and nothing twice", async () => {
  const folder = temporaryFolder();
  let fleet = await startFleet(join(folder, "server"));
  const ports = { port: Number(new URL(fleet.url).port), mqttPort: Number(new URL(fleet.mqttUrl).port) };
  const stateDir = join(folder, "edge-1");
  await enrolDevice(fleet, stateDir, "edge-1");
  const rows = 400;
  const longer = config.replace(`rows: ${ROWS}`, `rows: ${rows}`);
  const first = startAgentProcess(folder, stateDir, longer);
  await eventually("some samples are committed", async () => (await fleet.samples()).length > 50);
  first.signal("SIGKILL");
  await first.ended;
  fleet.process.signal("SIGKILL");
  await fleet.process.ended;

  const second = startAgentProcess(folder, stateDir, longer);
  await snapshotWhere("rows pile up", stateDir, ({ pipeline }) => (pipeline?.outbox.unacked ?? 0) > 100);
  fleet = await startFleet(join(folder, "server"), ports);
  await snapshotWhere(
    "everything is acknowledged",
    stateDir,
    ({ link, pipeline }) => link.phase === "online" && (pipeline?.rows ?? 0) > 0 && pipeline!.outbox.unacked === 0,
    60_000,
  );
  await eventually("the last row is committed", async () => (await fleet.samples()).length >= 2 * rows);
  const samples = await fleet.samples();
  expect(samples).toHaveLength(2 * rows);
  expect(new Set(samples.map(keyOf))).toEqual(new Set((await expectedRows(folder)).keys()));
  expect((await second.stop()).ended).toBe(0);
  expect((await fleet.process.stop()).ended).toBe(0);
});

test("an agent whose server hangs still stops within 5 s, in good order", async () => {
  const folder = temporaryFolder();
  const fleet = await startFleet(join(folder, "server"));
  const stateDir = join(folder, "edge-1");
  await enrolDevice(fleet, stateDir, "edge-1");
  const agent = startAgentProcess(folder, stateDir, config.replace(`, rows: ${ROWS}`, ""));
  await snapshotWhere("it is online", stateDir, ({ link }) => link.phase === "online");
  fleet.process.signal("SIGSTOP");
  const { ended, ms } = await agent.stop();
  expect(ended).toBe(0);
  expect(ms).toBeLessThan(5_000);
  fleet.process.signal("SIGCONT");
  await fleet.process.stop();
});
