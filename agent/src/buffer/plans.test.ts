import { STREAMS, type Stream } from "@bellwether/protocol/messages/stream.ts";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { judgeAck, type StreamKnowledge } from "./acknowledgement.ts";
import { BackfillPace } from "./backfill.ts";
import { type Candidate, planEviction, remainder } from "./eviction.ts";
import { cursorsAt } from "./lanes.ts";
import { dueMarks, type Mark } from "./mark.ts";
import { type BufferPhase, nextPhase } from "./pressure.ts";
import { NO_CREDITS, planSend, STREAM_WEIGHTS } from "./send-plan.ts";

describe("eviction", () => {
  const chunk = (fromSeq: number, acked: boolean): Candidate => ({ fromSeq, toSeq: fromSeq + 9, bytes: 100, acked });

  test.each([
    { bytes: 100, drops: ["samples 1"], gaps: [], lost: 0 },
    { bytes: 200, drops: ["samples 1", "event 1"], gaps: [], lost: 0 },
    { bytes: 300, drops: ["samples 1", "event 1", "samples 11"], gaps: ["samples 11-20"], lost: 10 },
    {
      bytes: 500,
      drops: ["samples 1", "event 1", "samples 11", "telemetry 1", "telemetry 11"],
      gaps: ["samples 11-20", "telemetry 1-20"],
      lost: 30,
    },
  ])("$bytes bytes: what the server has first, then the lowest class, oldest first", ({ bytes, drops, gaps, lost }) => {
    const plan = planEviction(
      {
        event: [chunk(1, true), chunk(11, false)],
        telemetry: [chunk(1, false), chunk(11, false)],
        samples: [chunk(1, true), chunk(11, false)],
      },
      bytes,
    );
    expect(plan.drop.map(({ stream, fromSeq }) => `${stream} ${fromSeq}`)).toEqual(drops);
    expect(plan.gaps.map(({ stream, fromSeq, toSeq }) => `${stream} ${fromSeq}-${toSeq}`)).toEqual(gaps);
    expect(plan.lostRecords).toBe(lost);
  });

  test("what is left of a range is exactly what the server lacks", () => {
    const range = fc.tuple(fc.integer({ min: 1, max: 40 }), fc.nat(10)).map(([from, more]) => [from, from + more]);
    fc.assert(
      fc.property(range, fc.nat(40), fc.array(range, { maxLength: 5 }), ([from, to], upTo, also) => {
        const left = remainder({ fromSeq: from!, toSeq: to! }, upTo, also as [number, number][]);
        const lacking: number[] = [];
        for (let seq = from!; seq <= to!; seq++) {
          if (seq > upTo && !also.some(([start, end]) => start! <= seq && seq <= end!)) lacking.push(seq);
        }
        const found = left.flatMap(({ fromSeq, toSeq }) =>
          Array.from({ length: toSeq - fromSeq + 1 }, (_, index) => fromSeq + index),
        );
        expect(found).toEqual(lacking);
      }),
    );
  });
});

describe("the send plan", () => {
  const sizes = fc.array(fc.integer({ min: 1, max: 60_000 }), { maxLength: 20 });
  const waiting = fc.record(
    Object.fromEntries(STREAMS.map((stream) => [stream, sizes])) as Record<Stream, typeof sizes>,
  );

  test("stays within its bytes, takes each chunk at most once, and takes one where any waits", () => {
    fc.assert(
      fc.property(waiting, fc.integer({ min: 1, max: 500_000 }), (queues, maxBytes) => {
        const { picks } = planSend(queues, NO_CREDITS, maxBytes);
        const taken = new Map<Stream, number>();
        let bytes = 0;
        for (const stream of picks) {
          const index = taken.get(stream) ?? 0;
          expect(index).toBeLessThan(queues[stream].length);
          bytes += queues[stream][index]!;
          taken.set(stream, index + 1);
        }
        expect(picks.length > 0).toBe(STREAMS.some((stream) => queues[stream].length > 0));
        if (picks.length > 1) expect(bytes).toBeLessThanOrEqual(maxBytes);
      }),
    );
  });

  test("gives every stream its weight over many small plans", () => {
    let credits = NO_CREDITS;
    const counts = new Map<Stream, number>();
    const weights = STREAMS.reduce((sum, stream) => sum + STREAM_WEIGHTS[stream], 0);
    for (let round = 0; round < weights * 10; round++) {
      const full = Object.fromEntries(STREAMS.map((stream) => [stream, [1_000]])) as Record<Stream, number[]>;
      const plan = planSend(full, credits, 1);
      credits = plan.credits;
      for (const stream of plan.picks) counts.set(stream, (counts.get(stream) ?? 0) + 1);
    }
    for (const stream of STREAMS) expect(counts.get(stream)).toBe(STREAM_WEIGHTS[stream] * 10);
  });

  test("an event that comes after a long quiet goes first, and telemetry is not starved by it", () => {
    let credits = NO_CREDITS;
    for (let round = 0; round < 50; round++) credits = planSend({ telemetry: [1] }, credits, 1).credits;
    const { picks } = planSend({ event: [1], telemetry: [1, 1] }, credits, 100);
    expect(picks).toEqual(["event", "telemetry", "telemetry"]);
  });
});

describe("the pace of backfill", () => {
  const chunk = (fromSeq: number) => ({ fromSeq, toSeq: fromSeq });
  const all = () => true;

  test("keeps to its rate over any time, whatever it is asked", () => {
    const answered = fc.array(fc.tuple(fc.nat(3_000), fc.integer({ min: 1, max: 60_000 })), { maxLength: 300 });
    fc.assert(
      fc.property(answered, fc.integer({ min: 4_096, max: 1_000_000 }), (steps, bytesPerSecond) => {
        const pace = new BackfillPace(bytesPerSecond);
        let [nowMs, sentBytes] = [0, 0];
        for (const [passedMs, bytes] of steps) {
          nowMs += passedMs;
          if (pace.roomBytes(nowMs) <= 0) continue;
          pace.sent("telemetry", chunk(1), bytes, nowMs);
          pace.acked(all, nowMs);
          sentBytes += bytes;
          // A second's burst, and the last chunk as a whole.
          expect(sentBytes).toBeLessThanOrEqual((bytesPerSecond * (nowMs + 1_000)) / 1_000 + 60_000);
        }
      }),
    );
  });

  test("gives the line as much as it answers for promptly, and a chunk at a time to one that does not", () => {
    const pace = new BackfillPace(1e9);
    const onItsWay = (answerMs: number) => {
      let [nowMs, most] = [0, 0];
      for (let round = 0; round < 20; round++) {
        let bytes = 0;
        for (; pace.roomBytes(nowMs) > 0; bytes += 10_000) pace.sent("event", chunk(round), 10_000, nowMs);
        nowMs += answerMs;
        pace.acked(all, nowMs);
        most = bytes;
      }
      return most;
    };
    expect(onItsWay(100)).toBe(270_000);
    expect(onItsWay(5_000)).toBe(10_000);
    expect(pace.waitMs).toBeUndefined();
  });
});

describe("acknowledgements", () => {
  const epoch = "00000000000000aa";
  const marks = [{ atMs: 0, upTo: 50 }];
  const known: StreamKnowledge = { next: 101, ackedTo: 50, also: [], ...cursorsAt(80), marks };

  test.each([
    { said: { epoch: "00000000000000bb", upTo: 60, also: [] }, kind: "ignored" },
    { said: { epoch, upTo: 60, also: [] }, kind: "advanced", ackedTo: 60, sentTo: 80 },
    { said: { epoch, upTo: 50, also: [[61, 70]] }, kind: "advanced", ackedTo: 50, sentTo: 80 },
    { said: { epoch, upTo: 90, also: [] }, kind: "advanced", ackedTo: 90, sentTo: 90 },
    { said: { epoch, upTo: 100, also: [] }, kind: "advanced", ackedTo: 100, sentTo: 100 },
    { said: { epoch, upTo: 101, also: [] }, kind: "ahead" },
    { said: { epoch, upTo: 0, also: [[90, 101]] }, kind: "ahead" },
    { said: { epoch, upTo: 20, also: [] }, kind: "rewound", ackedTo: 20, sentTo: 20 },
  ] as const)("$said.upTo of $said.epoch: $kind", ({ said, kind, ...expected }) => {
    const verdict = judgeAck(known, epoch, said, 1_000, 60_000);
    expect(verdict.kind).toBe(kind);
    if (verdict.kind === "advanced" || verdict.kind === "rewound") expect(verdict.knowledge).toMatchObject(expected);
  });

  test("marks stay few, and what they let go was acknowledged long enough ago", () => {
    const steps = fc.array(fc.tuple(fc.integer({ min: -5_000, max: 20_000 }), fc.nat(10)), { maxLength: 200 });
    fc.assert(
      fc.property(steps, (moves) => {
        const keepMs = 60_000;
        const ackedAtMs = new Map<number, number>();
        let state: StreamKnowledge = { next: 10_000, ackedTo: 0, also: [], ...cursorsAt(0), marks: [] };
        let nowMs = 1_000_000;
        let monotonic = true;
        for (const [move, count] of moves) {
          nowMs += move;
          monotonic &&= move >= 0;
          const upTo = state.ackedTo + count;
          for (let seq = state.ackedTo + 1; seq <= upTo; seq++) ackedAtMs.set(seq, nowMs);
          const verdict = judgeAck(state, epoch, { epoch, upTo, also: [] }, nowMs, keepMs);
          if (verdict.kind !== "advanced") throw new Error(verdict.kind);
          const { upTo: gone, marks }: { upTo: number; marks: readonly Mark[] } = dueMarks(
            verdict.knowledge.marks,
            nowMs,
            keepMs,
          );
          expect(marks.length).toBeLessThan(70);
          if (monotonic && gone > 0) expect(nowMs - ackedAtMs.get(gone)!).toBeGreaterThanOrEqual(keepMs);
          state = { ...verdict.knowledge, marks };
        }
      }),
    );
  });
});

describe("the phase", () => {
  test.each<{ from: BufferPhase; used: number; losing?: true; to: BufferPhase }>([
    { from: "normal", used: 0.5, to: "normal" },
    { from: "normal", used: 0.74, to: "normal" },
    { from: "normal", used: 0.75, to: "pressured" },
    { from: "pressured", used: 0.7, to: "pressured" },
    { from: "pressured", used: 0.6, to: "normal" },
    { from: "pressured", used: 1.01, to: "shedding" },
    { from: "normal", used: 0.1, losing: true, to: "shedding" },
    { from: "shedding", used: 0.95, to: "shedding" },
    { from: "shedding", used: 0.8, to: "pressured" },
    { from: "shedding", used: 0.5, to: "normal" },
  ])("$from at $used -> $to", ({ from, used, losing, to }) => {
    expect(nextPhase(from, used, losing === true)).toBe(to);
  });
});
