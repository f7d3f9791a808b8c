import { problem } from "@bellwether/protocol/errors.ts";
import type { EventRecord } from "@bellwether/protocol/messages/stream.ts";
import { expect, test, vi } from "vitest";
import { watchClock } from "./clock.io.ts";
import { createSecurityEvents, isFailedLogin } from "./security.ts";

test("the same thing of the same model is told once in ten minutes, also when the clock jumps back", () => {
  const kept: EventRecord[] = [];
  let nowMs = 1_000_000_000;
  const tell = createSecurityEvents(
    (record) => kept.push(record),
    () => nowMs,
  );
  const refused = problem("NOT_IN_TARGETS", { model: "a", version: 1, member: "digest" });
  for (const model of ["a", "a", "b"]) tell(refused, model);
  tell(problem("BROKER_NOT_OURS", { expected: "x", actual: "y" }));
  expect(kept.map(({ kind, code, model }) => [kind, code, model])).toEqual([
    ["security", "NOT_IN_TARGETS", "a"],
    ["security", "NOT_IN_TARGETS", "b"],
    ["security", "BROKER_NOT_OURS", undefined],
  ]);
  nowMs -= 900_000_000;
  tell(refused, "a");
  expect(kept).toHaveLength(4);
  for (let i = 0; i < 5_000; i++) tell(refused, `made-up-${i}`);
  expect(kept.length, "nobody fills the outbox by making names up").toBeLessThan(1_100);
});

test.each([
  [problem("SERVER_REFUSED", { http: 401, code: "DEVICE_LOGIN_REFUSED", url: "u", reason: "r" }), true],
  [problem("SERVER_REFUSED", { http: 503, code: "none", url: "u", reason: "r" }), false],
  [problem("TLS_CA_UNKNOWN", { name: "n" }), true],
  [problem("LINK_LOST", { url: "u", reason: "Connection refused: Not authorized" }), true],
  [problem("LINK_LOST", { url: "u", reason: "ECONNRESET" }), false],
  [problem("SERVER_UNREACHABLE", { url: "u", reason: "ENOTFOUND" }), false],
])("%o is a failed login: %s", (told, failed) => expect(isFailedLogin(told)).toBe(failed));

test("a clock that is set is noticed, one that is slewed or only late is not", () => {
  vi.useFakeTimers();
  const clock = { wallMs: 0, monoMs: 0 };
  const jumps: unknown[] = [];
  const stop = watchClock(
    (jump) => jumps.push(jump),
    () => ({ ...clock }),
  );
  const pass = (monoMs: number, wallMs: number) => {
    clock.monoMs += monoMs;
    clock.wallMs += wallMs;
    vi.advanceTimersByTime(5_000);
  };
  pass(5_000, 5_000);
  pass(3_600_000, 3_601_000);
  pass(5_000, 64_000);
  expect(jumps).toEqual([]);
  pass(5_000, 4_000_000_000_000);
  pass(5_000, -4_000_000_000_000);
  expect(jumps).toMatchObject([{ toMs: expect.any(Number), ranMs: 5_000 }, { ranMs: 5_000 }]);
  stop();
  vi.useRealTimers();
});
