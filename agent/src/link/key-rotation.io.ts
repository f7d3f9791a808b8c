import { randomBytes } from "node:crypto";
import { existsSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { deviceStatus } from "@bellwether/protocol/messages/device.ts";
import { ok, type Result } from "@bellwether/protocol/result.ts";
import { keyPairOf, signBytes } from "@bellwether/protocol/trust/keys.ts";
import { rotationBytes } from "@bellwether/protocol/trust/login.ts";
import { syncFolder, writeDurably } from "../durable.io.ts";
import { ENROLMENT_FILE, fileTrouble, KEY_FILE, NEXT_KEY_FILE, readSeed } from "./enrol.io.ts";
import type { Identity } from "./enrolment.ts";
import { postJson } from "./http.io.ts";
import { freshNonce } from "./login.io.ts";
import type { Reach } from "./reach.io.ts";

/** Whether a key change was begun and its end is not known yet. */
export function isRotating(stateDir: string): boolean {
  return existsSync(join(stateDir, NEXT_KEY_FILE));
}

/**
 * Gives the device a new key, signed by the old one and by itself. The new key is durable before the server hears of
 * it, and `enrolment.json` says which of the two files counts, so that power may fail at any moment: called again it goes
 * on where it was, and the server answers the same change twice. A key that the server refuses is forgotten.
 */
export async function rotateKey(stateDir: string, identity: Identity, reach?: Reach): Promise<Result<Identity>> {
  const { enrolment, seed } = identity;
  const { serverUrl, device, brokerId } = enrolment;
  try {
    const next = nextSeed(stateDir);
    if (!next.ok) return next;
    const newPublicHex = Buffer.from(keyPairOf(next.value).publicKey).toString("hex");
    const nonce = await freshNonce(identity, reach);
    if (!nonce.ok) return nonce;
    const bytes = rotationBytes(brokerId, device, nonce.value, newPublicHex);
    const [signatureHex, newSignatureHex] = [seed, next.value].map((key) => signBytes(bytes, key).toString("hex"));
    const body = { device, nonce: nonce.value, signatureHex, newPublicHex, newSignatureHex };
    const answer = await postJson(serverUrl, "v1/device/rotate-key", body, deviceStatus, reach);
    if (!answer.ok) {
      const { code, detail } = answer.error;
      const unusable = detail["code"] === "KEY_IN_USE" || detail["code"] === "KEY_INVALID";
      if (code === "SERVER_REFUSED" && unusable) rmSync(join(stateDir, NEXT_KEY_FILE), { force: true });
      return answer;
    }
    const renewed = { ...enrolment, publicHex: newPublicHex };
    writeDurably(join(stateDir, ENROLMENT_FILE), `${JSON.stringify(renewed, undefined, 2)}\n`);
    settleKey(stateDir);
    return ok({ enrolment: renewed, seed: next.value });
  } catch (cause) {
    return fileTrouble(stateDir, cause);
  }
}

/** Puts the new key's file in the old one's place once the enrolment names it. */
export function settleKey(stateDir: string): void {
  renameSync(join(stateDir, NEXT_KEY_FILE), join(stateDir, KEY_FILE));
  syncFolder(stateDir);
}

function nextSeed(stateDir: string): Result<Uint8Array> {
  const path = join(stateDir, NEXT_KEY_FILE);
  if (existsSync(path)) return readSeed(stateDir, NEXT_KEY_FILE);
  const seed = randomBytes(32);
  writeDurably(path, `${seed.toString("hex")}\n`);
  return ok(seed);
}
