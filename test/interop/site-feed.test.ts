import { join } from "node:path";
import { connectAsync } from "mqtt";
import { expect, onTestFinished, test } from "vitest";
import { enrolledFolder, startAgentProcess } from "../kit/agent.ts";
import { eventually } from "../kit/eventually.ts";
import { temporaryFolder } from "../kit/folder.ts";
import { haveMosquitto, startMosquitto } from "../kit/mosquitto.ts";
import { freePort } from "../kit/port.ts";

test("the feed on a site's own mosquitto, from the agent, while the line to the fleet server is down", async () => {
  if (!haveMosquitto("the agent's own feed")) return;
  const folder = temporaryFolder();
  const port = await freePort();
  const url = `mqtt://127.0.0.1:${port}`;
  // Port 9 of loopback answers nobody: the fleet server is out of reach all the time.
  const stateDir = enrolledFolder(join(folder, "edge-1"), { labels: { line: "2" } });
  const agent = startAgentProcess(
    folder,
    stateDir,
    `
heartbeatMs: 500
assets: [{id: pump-1}, {id: pump-2}]
inputs: [{id: sim, type: simulator, rowsPerSecond: 20}]
outputs: [{type: mqtt, url: "${url}"}]
`,
  );
  // The broker comes later than the agent: it is tried until it is there.
  await eventually(
    "the output says that nobody answers",
    () => agent.log().some(({ code }) => code === "OUTPUT_DISCONNECTED"),
    60_000,
  );
  startMosquitto(folder, port);
  const reader = await eventually(
    "mosquitto answers",
    () => connectAsync(url, { reconnectPeriod: 0 }).catch(() => undefined),
    60_000,
    200,
  );
  onTestFinished(() => void reader.end(true));
  const heard: { topic: string; text: string; retain: boolean }[] = [];
  reader.on("message", (topic, payload, { retain }) => heard.push({ topic, text: payload.toString(), retain }));
  await reader.subscribeAsync("bw/v1/plant/feed/#");
  const said = (topic: string) => heard.filter((one) => one.topic === `bw/v1/plant/feed/${topic}`);
  const rows = await eventually(
    "rows of both assets",
    () => said("pump-1/telemetry").length > 20 && said("pump-2/telemetry").length > 20 && said("pump-1/telemetry"),
    60_000,
  );
  const first = JSON.parse(rows[0]?.text ?? "");
  expect(first).toMatchObject({ asset: "pump-1", device: "edge-1", hist: false });
  expect(Object.keys(first.values).length).toBeGreaterThan(5);
  const times = rows.map(({ text }) => JSON.parse(text).observedAtMs as number);
  expect(times).toEqual(times.toSorted((a, b) => a - b));
  await eventually("what is retained", () => said("pump-1/last").length > 0 && said("edge-1/device").length > 0);
  expect(JSON.parse(said("edge-1/device").at(-1)?.text ?? "")).toMatchObject({
    presence: "online",
    labels: { line: "2" },
  });

  // Whoever comes later finds the newest at once.
  const late = await connectAsync(url, { reconnectPeriod: 0 });
  onTestFinished(() => void late.end(true));
  const retained: string[] = [];
  late.on("message", (topic, _payload, { retain }) => void (retain && retained.push(topic)));
  await late.subscribeAsync("bw/v1/plant/feed/#");
  await eventually("the retained", () => retained.length >= 3);
  expect(retained.toSorted()).toEqual(
    ["edge-1/device", "pump-1/last", "pump-2/last"].map((topic) => `bw/v1/plant/feed/${topic}`),
  );

  // Dead without a word: the broker says so.
  agent.signal("SIGKILL");
  await agent.ended;
  await eventually("the last will", () => said("edge-1/device").at(-1)?.text.includes('"offline"'), 60_000);
}, 180_000);
