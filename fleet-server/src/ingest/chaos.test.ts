import { encodeBatch } from "@bellwether/protocol/batch.ts";
import type {
  EventRecord,
  InferenceRecord,
  Stream,
  StreamAck,
  StreamBatch,
  TelemetryRow,
} from "@bellwether/protocol/messages/stream.ts";
import fc from "fast-check";
import { expect, it } from "vitest";
import { temporaryFolder } from "../../../test/kit/folder.ts";
import { commitTogether } from "../../../test/kit/ingest.ts";
import { temporaryStore } from "../../../test/kit/store.ts";
import type { IncomingBatch } from "../store/ingest.ts";
import type { Store } from "../store/store.ts";

const EPOCHS = ["00000000000000aa", "00000000000000bb"] as const;
const CHAOS_STREAMS = ["telemetry", "inference", "event"] as const;
type ChaosStream = (typeof CHAOS_STREAMS)[number];
const LONGEST = 8;
const clock = { bootId: "b", monoMs: 0, wallMs: 0, clockSynced: true };

/** What a device has under one seq; `life` 1 is an older copy of its outbox that gave the same seqs to something else. */
function recordOf(stream: ChaosStream, seq: number, life: number): TelemetryRow | InferenceRecord | EventRecord {
  const observedAtMs = seq * 1_000;
  const value = seq / 8 + life * 1_000;
  const asset = `pump-${seq % 3}`;
  if (stream === "telemetry") return { asset, observedAtMs, values: { vib: value } };
  if (stream === "event") return { atMs: observedAtMs, kind: "device", severity: "info", code: "X", text: `${value}` };
  return { asset, observedAtMs, model: "m", version: 1, digest: `sha256:${"a".repeat(64)}`, value };
}

/** One thing that reaches the server. */
type Step =
  | { do: "batch" | "gap" | "poison"; epoch: number; stream: ChaosStream; from: number; count: number; life: number }
  | { do: "session"; epoch: number; stream: ChaosStream; firstHeld: number };

const where = { epoch: fc.constantFrom(0, 0, 0, 1), stream: fc.constantFrom(...CHAOS_STREAMS) };
const span = { from: fc.integer({ min: 1, max: 40 }), count: fc.integer({ min: 1, max: LONGEST }) };
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 12, arbitrary: fc.record({ do: fc.constant("batch" as const), ...where, ...span, life: fc.constant(0) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("batch" as const), ...where, ...span, life: fc.constant(1) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("gap" as const), ...where, ...span, life: fc.constant(0) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("poison" as const), ...where, ...span, life: fc.constant(0) }) },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant("session" as const), ...where, firstHeld: fc.integer({ min: 1, max: 12 }) }),
  },
);

/** What must be true, in the simplest words: which seqs are settled, and what was stored under each. */
class Expected {
  readonly settled = new Set<number>();
  readonly stored = new Map<number, number>();

  outcome(action: Extract<Step, { from: number }>): string {
    const seqs = Array.from({ length: action.count }, (_, index) => action.from + index);
    if (action.do === "batch" && seqs.some((seq) => (this.stored.get(seq) ?? action.life) !== action.life)) {
      return "conflict";
    }
    const fresh = seqs.filter((seq) => !this.settled.has(seq));
    for (const seq of fresh) {
      this.settled.add(seq);
      if (action.do === "batch") this.stored.set(seq, action.life);
    }
    if (action.do === "poison") return "poison";
    return fresh.length > 0 ? "committed" : "duplicate";
  }

  ack(epoch: string): StreamAck {
    let upTo = 0;
    while (this.settled.has(upTo + 1)) upTo++;
    const also: [number, number][] = [];
    for (const seq of [...this.settled].filter((one) => one > upTo).sort((a, b) => a - b)) {
      const last = also.at(-1);
      if (last && last[1] === seq - 1) last[1] = seq;
      else also.push([seq, seq]);
    }
    return { epoch, upTo, also };
  }
}

let devices = 0;

function messageOf(device: string, action: Extract<Step, { from: number }>): IncomingBatch {
  const { stream, from, count, life } = action;
  const records = Array.from({ length: count }, (_, index) => recordOf(stream, from + index, life));
  const envelope = { v: 1, epoch: EPOCHS[action.epoch], stream, fromSeq: from, hist: from % 2 === 0, clock };
  const batch = action.do === "gap" ? { records: [], gap: { count, reason: "evicted" } } : { records };
  const bytes =
    action.do === "poison"
      ? Buffer.from(JSON.stringify({ epoch: EPOCHS[action.epoch], fromSeq: from, records: records.map(() => null) }))
      : encodeBatch({ ...envelope, ...batch } as StreamBatch);
  return { device, site: "s", stream, bytes, receivedAtMs: 1 };
}

/** Everything stored of one device and stream, as epoch, seq and life, in the order in which it is given out. */
async function storedOf(store: Store, device: string, stream: ChaosStream): Promise<[number, number, number][]> {
  if (stream === "telemetry") {
    const { rows } = await store.ingest.rows({ device, batches: 10_000 });
    return rows.map(({ epoch, seq, values }) => [epoch, seq, lifeOf(seq, values["vib"] as number)]);
  }
  if (stream === "inference") {
    const found = await store.ingest.predictions({ order: "seq", device, limit: 10_000 });
    return found.map(({ epoch, seq, record }) => [epoch, seq, lifeOf(seq, record.value as number)]);
  }
  const found = await store.ingest.events({ device, limit: 10_000 });
  return found
    .map(({ epoch, seq, record }): [number, number, number] => [epoch, seq, lifeOf(seq, Number(record.text))])
    .sort((a, b) => a[0] - b[0] || a[1] - b[1]);
}

const lifeOf = (seq: number, value: number) => (value - seq / 8) / 1_000;

it("settles every seq once and gives records out in the order of seq, whatever arrives how often and in which order", async () => {
  const store = await temporaryStore();
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 40 }), fc.integer({ min: 1, max: 7 }), async (steps, groupSize) => {
      const device = `d${devices++}`;
      const expected = new Map<string, Expected>();
      const epochs: number[] = [];
      const expectedOf = (epoch: number, stream: Stream) => {
        if (!epochs.includes(epoch)) epochs.push(epoch);
        const key = `${epochs.indexOf(epoch) + 1} ${stream}`;
        const own = expected.get(key) ?? new Expected();
        expected.set(key, own);
        return own;
      };
      let group: Extract<Step, { from: number }>[] = [];
      const commit = async () => {
        const batches = group.map((action) => messageOf(device, action));
        const answers = await commitTogether(store.ingest.commit, batches);
        for (const [index, action] of group.entries()) {
          expect(answers[index]?.outcome).toBe(expectedOf(action.epoch, action.stream).outcome(action));
        }
        // A stream is acknowledged as its last message left it.
        for (const [index, { epoch, stream }] of group.entries()) {
          if (group.some((later, at) => at > index && later.stream === stream)) continue;
          expect(answers[index]?.ack).toEqual(expectedOf(epoch, stream).ack(EPOCHS[epoch] as string));
        }
        group = [];
      };
      for (const action of steps) {
        if (action.do !== "session") {
          group.push(action);
          if (group.length >= groupSize) await commit();
          continue;
        }
        await commit();
        const epoch = EPOCHS[action.epoch] as string;
        const own = expectedOf(action.epoch, action.stream);
        for (let seq = 1; seq < action.firstHeld; seq++) own.settled.add(seq);
        const streams = [{ stream: action.stream, firstHeld: action.firstHeld, next: 100 }];
        const opened = await store.ingest.openSession({ device, epoch, streams, nowMs: 1 });
        expect(opened).toEqual({ acks: { [action.stream]: own.ack(epoch) }, conflict: false });
      }
      await commit();
      for (const stream of CHAOS_STREAMS) {
        const wanted = [...expected]
          .filter(([key]) => key.endsWith(` ${stream}`))
          .flatMap(([key, { stored }]) =>
            [...stored].map(([seq, life]): [number, number, number] => [Number(key.split(" ")[0]), seq, life]),
          )
          .sort((a, b) => a[0] - b[0] || a[1] - b[1]);
        expect(await storedOf(store, device, stream)).toEqual(wanted);
      }
    }),
    { numRuns: 200 },
  );
});

it("knows after a restart what it knew before", async () => {
  const dir = temporaryFolder("store-");
  const first = await temporaryStore(dir);
  const batch = (from: number, count: number) =>
    messageOf("d", { do: "batch", epoch: 0, stream: "telemetry", from, count, life: 0 });
  await commitTogether(first.ingest.commit, [batch(1, 4), batch(7, 2)]);
  await first.close();
  const second = await temporaryStore(dir);
  const [again, filled] = await commitTogether(second.ingest.commit, [batch(3, 5), batch(1, 8)]);
  expect(again).toMatchObject({ outcome: "committed", ack: { upTo: 8, also: [] } });
  expect(filled).toMatchObject({ outcome: "duplicate" });
  expect((await storedOf(second, "d", "telemetry")).map(([, seq]) => seq)).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
});
