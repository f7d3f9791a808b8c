import { join } from "node:path";
import { deviceTopic } from "@bellwether/protocol/topics.ts";
import Database from "better-sqlite3";
import { expect, test } from "vitest";
import { type MqttConnection, openMqtt } from "../bench/ingest/mqtt.ts";
import { groupOf, SHAPES, TelemetryPackets } from "../bench/ingest/packets.ts";
import { type Bellwether, startBellwether } from "../kit/bellwether.ts";
import { credentials, type EnrolledDevice, enrol } from "../kit/device.ts";
import { eventually } from "../kit/eventually.ts";
import { temporaryFolder } from "../kit/folder.ts";

const DEVICES = 20;
/** As many as make a group that waits, by one device alone. */
const ON_THEIR_WAY = 64;
const KILLS = process.env["BELLWETHER_CAMPAIGN"] === "full" ? 30 : 4;

/** One device that sends short messages as fast as they are acknowledged. */
interface Flood {
  readonly device: string;
  readonly epoch: string;
  readonly connection: MqttConnection;
  upTo: number;
}

async function flood(server: Bellwether, enrolled: EnrolledDevice, epoch: string): Promise<Flood> {
  const { device, site } = enrolled;
  const topics = deviceTopic(site, device);
  const packets = new TelemetryPackets(topics.up("telemetry"), epoch, 1, groupOf(SHAPES["100B"]));
  const login = { clientId: device, ...(await credentials(server, enrolled)) };
  const connection = await openMqtt(server.mqttPort, login, topics.downFilters, {
    message(topic, payload, confirm) {
      confirm();
      const { streams } = JSON.parse(payload.toString("utf8"));
      if (topic !== topics.down("ack") || streams.telemetry?.epoch !== epoch) return;
      const count = streams.telemetry.upTo - own.upTo;
      own.upTo += count;
      if (count > 0) connection.write(packets.next(count));
    },
  });
  const own: Flood = { device, epoch, connection, upTo: 0 };
  connection.write(packets.next(ON_THEIR_WAY));
  return own;
}

test(`a server killed ${KILLS} times while short messages flood it has all it acknowledged, once`, {
  timeout: 600_000,
}, async () => {
  const dir = temporaryFolder("bellwether-flood-");
  let server = await startBellwether({ dir });
  const enrolled: EnrolledDevice[] = [];
  for (let n = 1; n <= DEVICES; n++) enrolled.push(await enrol(server, `gw-${n}`));
  const acknowledged: Flood[] = [];
  let waiting = 0;
  for (let kill = 0; kill < KILLS; kill++) {
    const epoch = `${kill + 1}`.padStart(16, "0");
    const floods: Flood[] = [];
    for (const one of enrolled) floods.push(await flood(server, one, epoch));
    const least = 500 + 700 * (kill % 3);
    await eventually("a flood", () => floods.every(({ upTo }) => upTo >= least), 60_000, 1);
    await server.stop("SIGKILL");
    for (const { connection } of floods) connection.close();
    acknowledged.push(...floods);
    waiting += rowsOf<{ n: number }>(dir, "SELECT count(*) AS n FROM arrivals")[0]?.n ?? 0;
    server = await startBellwether({ dir });
  }
  await server.stop();
  console.log(`groups that waited to be written when the server was killed: ${waiting} at ${KILLS} kills`);
  // The test would prove little of them otherwise.
  expect(waiting).toBeGreaterThan(0);
  const stored = rowsOf<{ device: string; epoch: string; from_seq: number; to_seq: number }>(
    dir,
    "SELECT device, epoch, from_seq, to_seq FROM telemetry_batches JOIN epochs USING (device, epoch_no) ORDER BY from_seq",
  );
  for (const { device, epoch, upTo } of acknowledged) {
    let next = 1;
    for (const run of stored.filter((one) => one.device === device && one.epoch === epoch)) {
      expect(run.from_seq).toBe(next);
      next = run.to_seq + 1;
    }
    expect(next).toBeGreaterThan(upTo);
  }
});

function rowsOf<Row>(dir: string, sql: string): Row[] {
  const db = new Database(join(dir, "fleet.sqlite"));
  try {
    return db.prepare(sql).all() as Row[];
  } finally {
    db.close();
  }
}
