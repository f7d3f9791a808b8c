import { randomBytes } from "node:crypto";
import { expect, test } from "vitest";
import { sealDirector } from "./director.ts";
import { keyPairOf } from "./keys.ts";
import { openTime, sealTime } from "./time.ts";

const [director, thief] = [keyPairOf(randomBytes(32)), keyPairOf(randomBytes(32))];
const nonce = "0".repeat(32);
const asked = { device: "gw-1", nonce, keys: [director.publicKey] };
const said = { device: "gw-1", nonce, atMs: 1_800_000_000_000 };

test("the time is believed from the director, for this device and this question", () => {
  expect(openTime(sealTime(said, director), asked)).toEqual({ ok: true, value: said.atMs });
});

const document = { v: 1 as const, device: "gw-1", version: 1, issuedAtMs: 1, expiresAtMs: 2, models: [], remove: [] };
test.each([
  ["by somebody else", sealTime(said, thief), "ENVELOPE_UNKNOWN_KEY"],
  ["to another device", sealTime({ ...said, device: "gw-2" }, director), "SERVER_TIME_REFUSED"],
  [
    "in answer to an earlier question (replay)",
    sealTime({ ...said, nonce: "1".repeat(32) }, director),
    "SERVER_TIME_REFUSED",
  ],
  ["in a document of another kind", sealDirector(document, director), "ENVELOPE_WRONG_TYPE"],
  ["as no number", sealTime({ ...said, atMs: -1 }, director), "INVALID_SHAPE"],
  ["as nothing", Buffer.from("{}"), "INVALID_SHAPE"],
])("the time said %s is not believed", (_, bytes, code) => {
  expect(openTime(bytes, asked)).toMatchObject({ ok: false, error: { code } });
});
