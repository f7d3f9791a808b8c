import { expect, test } from "vitest";
import { startBellwether } from "../kit/bellwether.ts";
import { connectDevice, enrol, rowsOf } from "../kit/device.ts";
import { eventually } from "../kit/eventually.ts";
import { temporaryFolder } from "../kit/folder.ts";

const ROUNDS = 3;
const START_MS = Date.UTC(2026, 0, 1);

test("a server killed while it takes batches in has everything it acknowledged, once, when it is back", async () => {
  const dir = temporaryFolder("bellwether-crash-");
  let server = await startBellwether({ dir });
  const enrolled = await enrol(server, "gw-1");
  const acknowledged: { epoch: string; upTo: number }[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const device = await connectDevice(server, enrolled, { session: round + 1 });
    device.mqtt.setMaxListeners(0);
    const upTo = () => Math.max(0, ...device.acks.map((ack) => ack.streams.telemetry?.upTo ?? 0));
    // More and more is on its way when the process dies; what is still unacknowledged then may be there or not.
    const sent: Promise<unknown>[] = [];
    for (let n = 0; n < 2_000 && upTo() < 200 + round * 300; n++) {
      sent.push(device.send("telemetry", rowsOf("pump-1", 5, START_MS + n * 5_000, n)).catch(() => undefined));
      if (n % 20 === 19) await new Promise((resolve) => setImmediate(resolve));
    }
    await eventually("some acknowledgements", () => upTo() >= 200 + round * 300, 20_000, 1);
    await server.stop("SIGKILL");
    acknowledged.push({ epoch: device.epoch, upTo: upTo() });
    await Promise.allSettled(sent);
    await device.end();
    server = await startBellwether({ dir });
  }
  const { body } = await server.call("GET /v1/samples?device=gw-1");
  const rows = String(body)
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as { epoch: number; seq: number });
  for (const [index, { upTo }] of acknowledged.entries()) {
    const seqs = rows.filter(({ epoch }) => epoch === index + 1).map(({ seq }) => seq);
    // Exactly once, in order, without a hole: everything acknowledged and perhaps a little more.
    expect(seqs).toEqual(Array.from({ length: seqs.length }, (_, n) => n + 1));
    expect(seqs.length).toBeGreaterThanOrEqual(upTo);
  }
});
