import { closeSync, fsyncSync, openSync, readdirSync, rmSync, statSync, writeSync } from "node:fs";
import { join } from "node:path";
import { deviceStatus } from "@bellwether/protocol/messages/device.ts";
import { ok, type Result } from "@bellwether/protocol/result.ts";
import { signBytes } from "@bellwether/protocol/trust/keys.ts";
import { wipeBytes } from "@bellwether/protocol/trust/login.ts";
import { syncFolder } from "../durable.io.ts";
import { fileTrouble, KEY_FILE, NEXT_KEY_FILE } from "./enrol.io.ts";
import type { Identity } from "./enrolment.ts";
import { postJson } from "./http.io.ts";
import { freshNonce } from "./login.io.ts";
import type { Reach } from "./reach.io.ts";

/** Tells the server that the device forgets its key: it is shut out until it enrols again, as the same device. */
export async function tellOfWipe(identity: Identity, reach?: Reach): Promise<Result<void>> {
  const { serverUrl, device, brokerId } = identity.enrolment;
  const nonce = await freshNonce(identity, reach);
  if (!nonce.ok) return nonce;
  const signed = signBytes(wipeBytes(brokerId, device, nonce.value), identity.seed);
  const body = { device, nonce: nonce.value, signatureHex: signed.toString("hex") };
  const answer = await postJson(serverUrl, "v1/device/wipe", body, deviceStatus, reach);
  return answer.ok ? ok(undefined) : answer;
}

/**
 * Removes everything an agent keeps in its state directory, which must belong to this process; answers what was removed.
 * Keys go first and are overwritten: whatever interrupts the rest, nobody can be this device any more. Links are removed,
 * what they lead to is not.
 */
export function wipeState(stateDir: string): Result<readonly string[]> {
  try {
    for (const name of [KEY_FILE, NEXT_KEY_FILE]) overwrite(join(stateDir, name));
    const names = readdirSync(stateDir);
    const keysFirst = names.toSorted((a, b) => Number(isKey(b)) - Number(isKey(a)));
    for (const name of keysFirst) rmSync(join(stateDir, name), { recursive: true, force: true });
    syncFolder(stateDir);
    return ok(names);
  } catch (cause) {
    return fileTrouble(stateDir, cause);
  }
}

function isKey(name: string): boolean {
  return name === KEY_FILE || name === NEXT_KEY_FILE;
}

/** Best effort: flash may keep an older copy of a block, which is why the server is told as well. */
function overwrite(path: string): void {
  const stats = statSync(path, { throwIfNoEntry: false });
  if (!stats?.isFile()) return;
  const file = openSync(path, "r+");
  try {
    writeSync(file, Buffer.alloc(stats.size));
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
}
