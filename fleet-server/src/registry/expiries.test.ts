import { expect, test } from "vitest";
import { alarmSentence, judgeExpiry, type Signed } from "./expiries.ts";
import { createExpiryWatch } from "./expiry-watch.io.ts";

const DAY_MS = 86_400_000;
const signed = (role: string, lifeDays: number, expiresInDays: number): Signed => ({
  ...{ role, version: 1, lifeMs: lifeDays * DAY_MS, expiresAtMs: expiresInDays * DAY_MS },
  renewedBy: lifeDays > 30 ? "owners" : "server",
});

test.each<[string, number, number, string | number | null]>([
  ["root", 365, 31, null],
  ["root", 365, 30, 30],
  ["targets", 180, 14.1, 30],
  ["targets", 180, 14, 14],
  ["targets", 180, 3, 3],
  ["targets", 180, 0.01, 3],
  ["targets", 180, 0, "expired"],
  // What the server renews at half of its life is no alarm while it does so.
  ["snapshot", 7, 3.5, null],
  ["snapshot", 7, 2.9, 3],
  ["timestamp", 1, 0.5, null],
  ["timestamp", 1, 0.2, 0.25],
])("%s, signed for %d days, with %d left, is alarm %s", (role, life, left, alarm) => {
  expect(judgeExpiry(signed(role, life, left), 0).alarm).toBe(alarm);
});

test("a certificate's alarm says what it is about", () => {
  const said = (role: string, days: number) => alarmSentence(judgeExpiry(signed(role, 90, days), 0));
  expect(said("tls", 31)).toBeUndefined();
  expect(said("tls", 13)).toMatch(/^the server's TLS certificate expires in 13 days, .*renew its files/);
  expect(said("tls-ca", 2)).toMatch(/^the CA of the server's TLS certificate expires in 2 days/);
  expect(said("tls", 0)).toMatch(/TLS certificate expired at 1970-01-01/);
});

test("each alarm is said once, when it is reached, and who must act", async () => {
  let nowMs = 0;
  const said: string[] = [];
  const all = [signed("targets", 180, 180), signed("timestamp", 1, 1)];
  const watch = createExpiryWatch({ signed: async () => all, now: () => nowMs, warn: (one) => said.push(one) });
  await watch.look();
  expect(said).toEqual([]);
  all[1] = signed("timestamp", 1, 1_000);
  for (let day = 1; day <= 181; day++) {
    nowMs = day * DAY_MS;
    await watch.look();
  }
  expect(said).toEqual([
    expect.stringMatching(/^the targets metadata expire in 30 days, at 1970-06-30T.*the owners/),
    expect.stringMatching(/^the targets metadata expire in 14 days/),
    expect.stringMatching(/^the targets metadata expire in 3 days/),
    expect.stringMatching(/^the targets metadata expired at 1970-06-30T.*install nothing/),
  ]);
  all[0] = signed("targets", 180, 400);
  await watch.look();
  expect(said).toHaveLength(4);
  expect((await watch.expiries())[0]).toMatchObject({ role: "targets", alarm: null });
});
