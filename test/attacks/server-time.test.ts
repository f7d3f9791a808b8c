import type { KeyPair } from "@bellwether/protocol/trust/keys.ts";
import { sealTime } from "@bellwether/protocol/trust/time.ts";
import { expect, test } from "vitest";
import { eventually } from "../kit/eventually.ts";
import { directorBytes, KEYS, type TestRepository } from "../kit/tuf.ts";
import { BOTH, NEW, OLD, startRepository, victims } from "../kit/victims.ts";

const { start, expectUnharmed } = victims();
const [YEAR_1970, YEAR_2099] = [0, Date.UTC(2099, 0, 1)];

/** Lets the server say what the time is: honestly, but for what is changed. */
function sayTime(
  repository: TestRepository,
  change: { device?: string; nonce?: string; atMs?: number } = {},
  key: KeyPair = KEYS.director,
): void {
  repository.answers.set("device/time", (request, response) => {
    const nonce = new URL(request.url ?? "", "http://any").searchParams.get("nonce") ?? "";
    response.end(sealTime({ device: "edge-1", nonce, atMs: Date.now(), ...change }, key));
  });
}

async function refusedWith(repository: TestRepository, nowMs: number, document = directorBytes(3, [NEW])) {
  const victim = await start(repository, { now: () => nowMs });
  victim.device.updater.onDesired(document);
  const refusal = await eventually("it is refused", () => victim.device.reported().refusals[0], 60_000);
  await expectUnharmed(victim);
  return { ...victim, code: refusal.code };
}

const runs = (victim: Awaited<ReturnType<typeof start>>) =>
  eventually(
    "the new model runs",
    () => victim.device.reported().models[0]?.active?.digest === NEW.manifestDigest,
    60_000,
  );

test.each([YEAR_1970, YEAR_2099])(
  "a device whose clock stands at %i goes by what the server signs for it",

  async (nowMs) => {
    const repository = await startRepository();
    repository.publish(3, BOTH);
    sayTime(repository);
    const victim = await start(repository, { now: () => nowMs });
    victim.device.updater.onDesired(directorBytes(3, [NEW]));
    await runs(victim);
  },
);

test.each([
  ["another device", { device: "edge-2" }, KEYS.director],
  ["another question (replay)", { nonce: "0".repeat(48) }, KEYS.director],
  ["nobody in particular, by a thief", {}, KEYS.timestamp],
])("the time said to %s moves no clock", async (_, change, key) => {
  const repository = await startRepository();
  repository.publish(3, BOTH);
  sayTime(repository, change, key);
  const victim = await refusedWith(repository, YEAR_2099);
  expect(victim.code).toBe("METADATA_EXPIRED");
  // Nothing of it was kept: as soon as the server is honest, the device goes on.
  sayTime(repository);
  victim.device.updater.onDesired(directorBytes(4, [NEW]));
  await runs(victim);
});

test("a floor that a stolen director raised to 2099 holds until a signed time or the owners end it", async () => {
  const repository = await startRepository();
  repository.publish(3, BOTH);
  sayTime(repository);
  // Its clock is right, but nobody set it: the document's own time counts.
  const victim = await start(repository, { now: () => Date.now() });
  victim.device.updater.onDesired(directorBytes(3, [OLD], { issuedAtMs: YEAR_2099 }));
  await eventually("the thief's document is taken", () => victim.device.reported().directorVersion === 3, 60_000);
  victim.device.updater.onDesired(directorBytes(4, [NEW]));
  await runs(victim);
});
