import { expect, test } from "vitest";
import { InFlight } from "./in-flight.ts";

const epoch = "00000000000000aa";
const chunk = (fromSeq: number, toSeq: number, size = 10_000) =>
  ({ stream: "telemetry", fromSeq, toSeq, bytes: new Uint8Array(size) }) as const;
const ack = (upTo: number, also: [number, number][] = [], name = epoch) =>
  ({ v: 1, streams: { telemetry: { epoch: name, upTo, also } } }) as const;

test("what is acknowledged makes room; of another epoch, or only in part, does not", () => {
  const inFlight = new InFlight();
  for (const [from, to] of [
    [1, 5],
    [6, 10],
    [11, 15],
  ] as const) {
    inFlight.add(chunk(from, to), 0);
  }
  expect(inFlight.room(100_000)).toBe(70_000);
  expect(inFlight.acked(ack(15, [], "00000000000000bb"), epoch)).toBe(0);
  expect(inFlight.acked(ack(7, [[11, 15]]), epoch)).toBe(2);
  expect([inFlight.chunks, inFlight.room(100_000)]).toEqual([1, 90_000]);
  expect(inFlight.acked(ack(10), epoch)).toBe(1);
  expect(inFlight.room(100_000)).toBe(100_000);
});

test("a small chunk costs its share of the server's work too", () => {
  const inFlight = new InFlight();
  inFlight.add(chunk(1, 1, 10), 0);
  expect(inFlight.room(100_000)).toBe(100_000 - 4_096);
});

test("an unanswered chunk is sent once more, then the other side counts as gone", () => {
  const inFlight = new InFlight();
  inFlight.add(chunk(1, 5), 0);
  inFlight.add(chunk(6, 10), 600);
  expect(inFlight.overdue(999, 1_000)).toEqual({ again: [], stuck: false });
  expect(inFlight.overdue(1_000, 1_000)).toMatchObject({ again: [{ fromSeq: 1 }], stuck: false });
  expect(inFlight.overdue(1_600, 1_000)).toMatchObject({ again: [{ fromSeq: 6 }], stuck: false });
  expect(inFlight.overdue(2_000, 1_000).stuck).toBe(true);
  inFlight.acked(ack(5), epoch);
  expect(inFlight.overdue(2_000, 1_000).stuck).toBe(false);
});
