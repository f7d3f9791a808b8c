import { encodeBatch } from "@bellwether/protocol/batch.ts";
import type { AckMessage, StreamBatch } from "@bellwether/protocol/messages/stream.ts";
import type { UpKind } from "@bellwether/protocol/topics.ts";
import { expect, it, onTestFinished } from "vitest";
import { eventually } from "../../../test/kit/eventually.ts";
import { temporaryStore } from "../../../test/kit/store.ts";
import type { Store } from "../store/store.ts";
import { createIngest } from "./ingest.io.ts";

const EPOCH = "00000000000000aa";

/** An ingest over a store whose commands may be replaced, and all that it does. */
async function start(change: (store: Store) => Partial<Pick<Store, "devices" | "ingest">> = () => ({})) {
  const store = await temporaryStore();
  const acks: { device: string; ack: AckMessage }[] = [];
  const reports: { problem: string; detail: unknown }[] = [];
  const fed: number[] = [];
  let nowMs = 1_000_000;
  const ingest = createIngest({
    store: { devices: store.devices, ingest: store.ingest, ...change(store) },
    toDevice(device, topic, payload) {
      expect(topic).toBe(`bw/v1/s/${device}/down/ack`);
      acks.push({ device, ack: JSON.parse(Buffer.from(payload).toString()) });
      return true;
    },
    feed: {
      asks: () => ({ withRecords: false }),
      committed: ({ batches }) => void fed.push(batches.length),
      presence: () => undefined,
    },
    onOpened: () => undefined,
    onReported: () => undefined,
    now: () => nowMs,
    report: (problem, detail) => void reports.push({ problem, detail }),
  });
  let open = true;
  const close = async () => {
    if (open) await ingest.close();
    open = false;
  };
  onTestFinished(close);
  let waiting = 0;
  return {
    store,
    ingest,
    acks,
    reports,
    fed,
    close,
    pass(ms: number) {
      nowMs += ms;
    },
    waiting: () => waiting,
    offer(kind: UpKind, bytes: Uint8Array | object, device = "gw-1") {
      waiting++;
      const payload = bytes instanceof Uint8Array ? bytes : Buffer.from(JSON.stringify(bytes));
      const sender = {
        device,
        site: "s",
        done(messages: number) {
          waiting -= messages;
        },
      };
      const read = Uint8Array.from(payload);
      ingest.offer(sender, kind, read);
      // What the broker gives is a view into what it read last.
      read.fill(0);
    },
  };
}

function batch(fromSeq: number, count = 1): Uint8Array {
  return encodeBatch({
    v: 1,
    epoch: EPOCH,
    stream: "telemetry",
    fromSeq,
    records: Array.from({ length: count }, (_, n) => ({ asset: "a", observedAtMs: fromSeq + n, values: { x: n } })),
    hist: false,
    clock: { bootId: "b", monoMs: 0, wallMs: 0, clockSynced: true },
  } as StreamBatch);
}

async function enrol(store: Store, device: string): Promise<void> {
  const token = {
    id: device,
    site: "s",
    labels: {},
    serials: null,
    preapproved: true,
    usesLeft: 1,
    expiresAtMs: 9e15,
    createdAtMs: 0,
    createdBy: "test",
    revoked: false,
  };
  await store.devices.addEnrolmentToken({ hash: device, token });
  await store.devices.enrol({ hash: device, device, serial: null, publicHex: device, nowMs: 0, reference: "" });
}

it("acknowledges what the store has committed, and nothing before", async () => {
  const held: (() => void)[] = [];
  const { offer, acks, store, waiting } = await start(({ ingest }) => ({
    ingest: {
      ...ingest,
      commit: async (args) => {
        await new Promise<void>((resolve) => held.push(resolve));
        return ingest.commit(args);
      },
    },
  }));
  offer("telemetry", batch(1, 3));
  await eventually("the commit is under way", () => held.length === 1);
  offer("telemetry", batch(4, 2));
  expect([acks.length, waiting()]).toEqual([0, 2]);
  held[0]?.();
  await eventually("the first ack", () => acks.length === 1);
  expect(acks[0]?.ack.streams.telemetry).toEqual({ epoch: EPOCH, upTo: 3, also: [] });
  expect((await store.ingest.rows({ batches: 10 })).rows.length).toBe(3);
  await eventually("the second commit", () => held.length === 2);
  held[1]?.();
  await eventually("the second ack", () => acks.at(-1)?.ack.streams.telemetry?.upTo === 5);
  expect(waiting()).toBe(0);
});

it("acknowledges nothing of a commit that failed; what is sent again is taken", async () => {
  let failing = true;
  const { offer, acks, reports, fed, waiting } = await start(({ ingest }) => ({
    ingest: {
      ...ingest,
      commit: async (args) => {
        if (failing) throw new Error("database or disk is full");
        return ingest.commit(args);
      },
    },
  }));
  offer("telemetry", batch(1, 3));
  await eventually("the device may send on", () => waiting() === 0);
  expect([acks, fed]).toEqual([[], []]);
  expect(String(reports[0]?.detail)).toContain("disk is full");
  failing = false;
  offer("telemetry", batch(1, 3));
  await eventually("the ack", () => acks.at(-1)?.ack.streams.telemetry?.upTo === 3);
});

it("keeps the order of one device's own words: a will does not overtake the state before it", async () => {
  const slow: (() => void)[] = [];
  const { offer, store, waiting } = await start(({ devices }) => ({
    devices: {
      ...devices,
      state: async (args) => {
        if (args.message.online) await new Promise<void>((resolve) => slow.push(resolve));
        return devices.state(args);
      },
    },
  }));
  await enrol(store, "gw-1");
  offer("state", { v: 1, session: 7, online: true });
  offer("state", { v: 1, session: 7, online: false });
  await eventually("the first", () => slow.length === 1);
  slow[0]?.();
  await eventually("both", () => waiting() === 0);
  expect((await store.devices.get({ device: "gw-1" }))?.state?.online).toBe(false);
});

it("hears a device by what it sends, never by its will, and notes it for good", async () => {
  const { offer, store, pass, close, waiting } = await start();
  await enrol(store, "gw-1");
  offer("state", { v: 1, session: 7, online: true, atMs: 1_090_000 });
  await eventually("taken", () => waiting() === 0);
  pass(60_000);
  offer("state", { v: 1, session: 7, online: false, atMs: 1_090_000 });
  await eventually("taken", () => waiting() === 0);
  await close();
  expect(await store.devices.get({ device: "gw-1" })).toMatchObject({
    lastSeenAtMs: 1_000_000,
    clockAheadMs: 90_000,
    state: { online: false },
  });
});

it("keeps unreadable words of every kind as dead letters, and names the device once a minute", async () => {
  const { offer, store, reports, pass, waiting, acks } = await start();
  const bad: [UpKind, object | Uint8Array][] = [
    ["state", { v: 1 }],
    ["state", { v: 1, session: 1, online: true, epoch: EPOCH, streams: [{ stream: "event", firstHeld: 5, next: 2 }] }],
    ["birth", Buffer.from("{")],
    ["reported", []],
    ["telemetry", Buffer.from([0, 1, 2])],
  ];
  for (const [kind, bytes] of bad) offer(kind, bytes);
  await eventually("all", () => waiting() === 0);
  const letters = await store.ingest.deadLetters({ limit: 10 });
  expect(letters.map(({ stream }) => stream).sort()).toEqual(["birth", "reported", "state", "state", "telemetry"]);
  expect(reports.length).toBe(1);
  expect(acks.every(({ ack }) => Object.keys(ack.streams).length === 0)).toBe(true);
  pass(61_000);
  offer("birth", Buffer.from("}"));
  await eventually("named again", () => reports.length === 2);
});

it("commits many messages as one group, and tells each device once where it stands", async () => {
  const groups: number[] = [];
  const { offer, acks, ingest } = await start((store) => ({
    ingest: {
      ...store.ingest,
      commit: (args) => {
        groups.push(args.group.ends.length);
        return store.ingest.commit(args);
      },
    },
  }));
  for (let n = 0; n < 100; n++) offer("telemetry", batch(n + 1), `gw-${n % 2}`);
  await eventually("all", () => ingest.counts().committed === 100);
  expect(groups.reduce((a, b) => a + b)).toBe(100);
  expect(groups.length).toBeLessThan(10);
  for (const device of ["gw-0", "gw-1"]) {
    const own = acks.filter((one) => one.device === device);
    expect(own.length).toBeLessThan(10);
    expect(own.at(-1)?.ack.streams.telemetry?.also.length).toBeGreaterThan(40);
  }
});
