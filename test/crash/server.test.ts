import { join } from "node:path";
import { expect, test } from "vitest";
import { startBellwether } from "../kit/bellwether.ts";
import { connectDevice, enrol, rowsOf } from "../kit/device.ts";
import { eventually } from "../kit/eventually.ts";
import { temporaryFolder } from "../kit/folder.ts";
import { startDisk } from "../kit/power.ts";

const CUTS = process.env["BELLWETHER_CAMPAIGN"] === "full" ? 50 : 2;
const START_MS = Date.UTC(2026, 0, 1);
const BATCH_ROWS = 5;

/** Where the server is killed, and what happens beside the kill. */
const kills = () => ({
  dir: temporaryFolder("bellwether-crash-"),
  cut: () => undefined,
  restart: async () => undefined,
});
const powerCuts = () => {
  const disk = startDisk();
  return { dir: join(disk.folder, "server"), cut: () => disk.cut(), restart: () => disk.restart() };
};

test.each([
  ["killed", 3, kills],
  [`whose power fails ${CUTS} times`, CUTS, powerCuts],
] as const)(
  "a server %s while it takes batches in has everything it acknowledged, once, when it is back",
  { timeout: 3_600_000 },
  async (_, rounds, on) => {
    const { dir, cut, restart } = on();
    let server = await startBellwether({ dir });
    const enrolled = await enrol(server, "gw-1");
    const acknowledged: { epoch: string; upTo: number }[] = [];
    for (let round = 0; round < rounds; round++) {
      const device = await connectDevice(server, enrolled, { session: round + 1 });
      device.mqtt.setMaxListeners(0);
      const upTo = () => Math.max(0, ...device.acks.map((ack) => ack.streams.telemetry?.upTo ?? 0));
      // More and more is on its way when the process dies; what is still unacknowledged then may be there or not.
      const sent: Promise<unknown>[] = [];
      const wanted = 200 + (round % 3) * 300;
      for (let n = 0; n < 2_000 && upTo() < wanted; n++) {
        const fromMs = START_MS + n * BATCH_ROWS * 1_000;
        sent.push(device.send("telemetry", rowsOf("pump-1", BATCH_ROWS, fromMs, n)).catch(() => undefined));
        if (n % 20 === 19) await new Promise((resolve) => setImmediate(resolve));
      }
      await eventually("some acknowledgements", () => upTo() >= wanted, 20_000, 1);
      // What arrives from a machine without power is heard by nobody.
      acknowledged.push({ epoch: device.epoch, upTo: upTo() });
      cut();
      await server.stop("SIGKILL");
      await Promise.allSettled(sent);
      await device.end();
      await restart();
      server = await startBellwether({ dir });
    }
    const { body } = await server.call("GET /v1/samples?device=gw-1");
    const rows = String(body)
      .split("\n")
      .filter((line) => line !== "")
      .map((line) => JSON.parse(line) as { epoch: number; seq: number; observedAtMs: number; values: { vib: number } });
    for (const [index, { upTo }] of acknowledged.entries()) {
      const stored = rows.filter(({ epoch }) => epoch === index + 1);
      // Exactly once, in order, without a hole, as it was sent: everything acknowledged and perhaps a little more.
      const sent = stored.map((_, n) => ({
        seq: n + 1,
        observedAtMs: START_MS + n * 1_000,
        vib: Math.floor(n / BATCH_ROWS) + (n % BATCH_ROWS),
      }));
      expect(stored.map(({ seq, observedAtMs, values: { vib } }) => ({ seq, observedAtMs, vib }))).toEqual(sent);
      expect(stored.length).toBeGreaterThanOrEqual(upTo);
    }
    console.log(
      `rows acknowledged before each end: ${acknowledged.map(({ upTo }) => upTo).join(" ")}; none is missing`,
    );
  },
);
