import { zstdDecompressSync } from "node:zlib";
import { parquetReadObjects } from "hyparquet";
import { expect, it } from "vitest";
import { startBellwether } from "../kit/bellwether.ts";
import { cli } from "../kit/cli.ts";
import { connectDevice, enrol } from "../kit/device.ts";
import { eventually } from "../kit/eventually.ts";

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const DAY_MS = 24 * HOUR_MS;

it("figures over time: exact, with gaps and backfill marked, page by page, through the API and the command line", async () => {
  const server = await startBellwether();
  const gateway = await enrol(server, "gw-1");
  const device = await connectDevice(server, gateway);
  const endMs = Math.floor(Date.now() / DAY_MS) * DAY_MS;
  const fromMs = endMs - 3 * DAY_MS;
  const row = (asset: string, atMs: number, vib: number | null) => ({
    asset,
    observedAtMs: atMs,
    values: { vib, temp: 20 },
  });
  const minutes = (asset: string, from: number, count: number, value: number) =>
    Array.from({ length: count }, (_, n) => row(asset, from + n * MINUTE_MS, value + n));
  await device.send("telemetry", minutes("pump-1", fromMs, 60, 0));
  await device.send("telemetry", minutes("pump-1", fromMs + 2 * HOUR_MS, 60, 100), { hist: true });
  // A second sample in the first minute, late, and a failed read that counts as none.
  await device.send("telemetry", [row("pump-1", fromMs + 30_000, 0.5), row("pump-1", fromMs + 90 * MINUTE_MS, null)]);
  await device.acknowledged("telemetry", await device.send("telemetry", minutes("pump-2", fromMs, 10, 7)));
  const metrics = async () => String((await server.call("GET /metrics")).body);
  await eventually("the figures", async () => (await metrics()).includes("bellwether_rollup_waiting_batches 0\n"));

  const range = `fromMs=${fromMs}&toMs=${endMs}`;
  const get = async (query: string) => (await server.call(`GET /v1/rollups?${range}&${query}`)).body;
  const hours = await get(`asset=pump-1&channel=vib&stepMs=${HOUR_MS}`);
  expect(hours).toEqual({
    items: [
      {
        site: "plant-a",
        asset: "pump-1",
        channel: "vib",
        fromMs,
        toMs: endMs,
        stepMs: HOUR_MS,
        atMs: [fromMs, fromMs + 2 * HOUR_MS],
        count: [61, 60],
        min: [0, 100],
        mean: [(1_770 + 0.5) / 61, 129.5],
        max: [59, 159],
        last: [59, 159],
        backfilled: [1],
        gaps: [[fromMs + HOUR_MS, fromMs + 2 * HOUR_MS]],
      },
    ],
  });
  const [first] = (await get("asset=pump-1&channel=vib&stepMs=60000")).items;
  expect([first.count[0], first.last[0], first.atMs.length]).toEqual([2, 0.5, 120]);
  const everything = await get("points=3");
  expect(everything.items.map((one: { asset: string; channel: string }) => `${one.asset}.${one.channel}`)).toEqual([
    "pump-1.temp",
    "pump-1.vib",
    "pump-2.temp",
    "pump-2.vib",
  ]);
  const pages: string[] = [];
  for (let cursor: string | undefined; pages.length === 0 || cursor !== undefined; ) {
    const { items, next } = await get(`points=3&limit=3${cursor ? `&cursor=${cursor}` : ""}`);
    pages.push(items.length);
    cursor = next;
  }
  expect(pages).toEqual([3, 1]);
  // More steps than a page holds: on in time.
  const year = `fromMs=${endMs - 30 * DAY_MS}&toMs=${endMs}`;
  const long = (await server.call(`GET /v1/rollups?${year}&asset=pump-1&channel=vib&stepMs=60000`)).body;
  expect([long.items[0].atMs.length, typeof long.next]).toEqual([0, "string"]);
  const further = (
    await server.call(`GET /v1/rollups?${year}&asset=pump-1&channel=vib&stepMs=60000&cursor=${long.next}`)
  ).body;
  expect([further.items[0].atMs.length, typeof further.next]).toEqual([120, "string"]);
  expect((await server.call(`GET /v1/rollups?fromMs=5&toMs=4`)).body.code).toBe("INVALID_QUERY");
  expect((await server.call(`GET /v1/rollups?stepMs=61000`)).http).toBe(400);

  const env = { BELLWETHER_URL: server.url, BELLWETHER_TOKEN: server.admin };
  const times = ["--since", new Date(fromMs).toISOString(), "--until", new Date(fromMs + 4 * HOUR_MS).toISOString()];
  const table = await cli(["samples", "rollups", "--asset", "pump-1", "--channel", "vib", ...times], env);
  expect(table.stdout).toMatch(/pump-1 +vib +[▁▂▃▄]{10}·{10}[▅▆▇█]{10}·{10} +0 +78\.8471 +159 +159 +121 +1\n/);
  const json = await cli(["-o", "json", "samples", "rollups", "--asset", "pump-1", "--step", "1h", ...times], env);
  expect(JSON.parse(json.stdout)[1].mean).toEqual(hours.items[0].mean);
  const steps = await cli(["samples", "rollups", "--channel", "vib", "--step", "1h", "--steps", ...times], env);
  expect(steps.stdout.split("\n").filter((line) => line.includes("backfilled")).length).toBe(1);
  const current = await cli(["-o", "json", "samples", "current", "--asset", "pump-2"], env);
  expect(JSON.parse(current.stdout)).toMatchObject([
    { asset: "pump-2", channel: "temp", value: 20, quality: "good" },
    { asset: "pump-2", channel: "vib", value: 16, quality: "good", hist: false },
  ]);
  // Exports of one format say what those of the others do.
  const exported = (format: string) =>
    fetch(`${server.url}/v1/samples?format=${format}`, { headers: { authorization: `Bearer ${server.admin}` } });
  const some = await fetch(`${server.url}/v1/samples?asset=pump-1&asset=pump-2&channel=vib&channel=none`, {
    headers: { authorization: `Bearer ${server.admin}` },
  });
  const rows = (await some.text())
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line));
  expect([rows.length, new Set(rows.map(({ asset }) => asset)).size]).toEqual([132, 2]);
  expect(rows.every(({ values }) => Object.keys(values).join() === "vib")).toBe(true);
  const values = await parquetReadObjects({
    compressors: { ZSTD: (bytes) => zstdDecompressSync(bytes) },
    file: await (await exported("parquet")).arrayBuffer(),
  });
  const csv = (await (await exported("csv")).text()).trimEnd().split("\n").slice(1);
  const told = values.map(
    ({ device, asset, time, channel, value, quality, epoch, seq }) =>
      `${device},${asset},${time.toISOString()},${channel},${value ?? ""},${quality},${epoch},${seq}`,
  );
  expect([told.length, told]).toEqual([264, csv]);
  expect(values.filter(({ backfilled }) => backfilled).length).toBe(120);
  expect(await metrics()).toContain('bellwether_retention_deleted_total{class="telemetry"} 0');
  expect(server.log.filter((line) => line.includes('"error"'))).toEqual([]);
});
