import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { BACKOFF, backoffMs, LINK_EVENTS, type LinkEvent, type LinkPhase, OFFLINE, stepLink } from "./machine.ts";

const input = { nowMs: 0, random: 0.5, timing: BACKOFF };

/** Runs events from offline; answers the phase and everything that was to be done. */
function run(events: readonly LinkEvent[], from = OFFLINE) {
  let state = from;
  const done: string[] = [];
  for (const event of events) {
    const step = stepLink(state, event, input);
    state = step.state;
    done.push(...step.effects.map((effect) => effect.do));
  }
  return { state, done };
}

const UP: readonly LinkEvent[] = ["start", "connected", "synced"];

describe("the link", () => {
  test.each<{ events: readonly LinkEvent[]; ends: LinkPhase; does: readonly string[] }>([
    { events: ["start"], ends: "connecting", does: ["connect"] },
    { events: UP, ends: "online", does: ["connect", "openSession", "goOnline"] },
    { events: ["start", "lost"], ends: "backingOff", does: ["connect", "drop", "retryIn"] },
    { events: ["start", "stuck"], ends: "backingOff", does: ["connect", "drop", "retryIn"] },
    { events: ["start", "lost", "due"], ends: "connecting", does: ["connect", "drop", "retryIn", "connect"] },
    { events: ["start", "lost", "stop"], ends: "offline", does: ["connect", "drop", "retryIn", "cancelRetry"] },
    { events: ["start", "stop"], ends: "offline", does: ["connect", "drop"] },
    { events: ["start", "stop", "connected"], ends: "offline", does: ["connect", "drop", "leave"] },
    { events: ["start", "connected", "stop"], ends: "offline", does: ["connect", "openSession", "leave"] },
    {
      events: ["start", "connected", "stuck"],
      ends: "backingOff",
      does: ["connect", "openSession", "drop", "retryIn"],
    },
    {
      events: ["start", "connected", "renumbered", "synced"],
      ends: "online",
      does: ["connect", "openSession", "openSession", "goOnline"],
    },
    { events: [...UP, "stop"], ends: "offline", does: ["connect", "openSession", "goOnline", "goOffline", "leave"] },
    {
      events: [...UP, "lost"],
      ends: "backingOff",
      does: ["connect", "openSession", "goOnline", "goOffline", "drop", "retryIn"],
    },
    {
      events: [...UP, "stuck", "due"],
      ends: "connecting",
      does: ["connect", "openSession", "goOnline", "goOffline", "drop", "retryIn", "connect"],
    },
    {
      events: [...UP, "renumbered"],
      ends: "syncing",
      does: ["connect", "openSession", "goOnline", "goOffline", "openSession"],
    },
  ])("$events -> $ends", ({ events, ends, does }) => {
    const { state, done } = run(events);
    expect(state.phase).toBe(ends);
    expect(done).toEqual(does);
  });

  test("whatever happens, what was begun is ended before it is begun again", () => {
    fc.assert(
      fc.property(fc.array(fc.constantFrom(...LINK_EVENTS), { maxLength: 60 }), (events) => {
        let state = OFFLINE;
        let online = false;
        let retrying = false;
        for (const event of events) {
          if (event === "due" && !retrying) continue;
          if (event === "due") retrying = false;
          const step = stepLink(state, event, input);
          state = step.state;
          for (const effect of step.effects) {
            if (effect.do === "goOnline" || effect.do === "goOffline") {
              expect(online).toBe(effect.do === "goOffline");
              online = effect.do === "goOnline";
            }
            if (effect.do === "retryIn") {
              expect(retrying).toBe(false);
              retrying = true;
            }
            if (effect.do === "cancelRetry") retrying = false;
          }
          expect(online).toBe(state.phase === "online");
          expect(retrying).toBe(state.phase === "backingOff");
        }
      }),
      { numRuns: 1_000 },
    );
  });
});

describe("backing off", () => {
  test("doubles its bound with every attempt up to the maximum, and spreads evenly below it", () => {
    const bounds = [0, 1, 2, 3, 10, 1_000].map((attempt) => backoffMs(attempt, 1, BACKOFF));
    expect(bounds).toEqual([500, 1_000, 2_000, 4_000, 30_000, 30_000]);
    fc.assert(
      fc.property(fc.nat(50), fc.double({ min: 0, max: 0.999, noNaN: true }), (attempt, random) => {
        const delayMs = backoffMs(attempt, random, BACKOFF);
        expect(delayMs).toBeGreaterThanOrEqual(0);
        expect(delayMs).toBeLessThanOrEqual(backoffMs(attempt, 1, BACKOFF));
      }),
    );
  });

  test("takes the time that the server asks for, at any moment of it, and not more than the longest it would take itself", () => {
    expect([0, 500, 8_000, 86_400_000].map((askedMs) => backoffMs(2, 1, BACKOFF, askedMs))).toEqual([
      2_000, 2_000, 8_000, 30_000,
    ]);
    const refused = stepLink(run(["start"]).state, "lost", { ...input, askedMs: 16_000 });
    expect(refused.effects).toContainEqual({ do: "retryIn", delayMs: 8_000 });
  });

  test("a link that was steadily online starts from the beginning; one that only flickers does not", () => {
    const failed = run(["start", "lost", "due", "lost", "due", "connected", "synced"]).state;
    expect(failed.attempt).toBe(2);
    const flickered = stepLink(failed, "lost", { ...input, nowMs: 1_000 });
    expect(flickered.effects).toContainEqual({ do: "retryIn", delayMs: 1_000 });
    const steady = stepLink(failed, "lost", { ...input, nowMs: BACKOFF.steadyMs });
    expect(steady.effects).toContainEqual({ do: "retryIn", delayMs: 250 });
  });
});
