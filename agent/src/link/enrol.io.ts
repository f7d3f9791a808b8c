import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { type EnrolmentRequest, enrolmentResponse } from "@bellwether/protocol/messages/device.ts";
import { err, ok, type Result } from "@bellwether/protocol/result.ts";
import { keyPairOf, signBytes } from "@bellwether/protocol/trust/keys.ts";
import { enrolmentBytes } from "@bellwether/protocol/trust/login.ts";
import { makeFolder, writeDurably } from "../durable.io.ts";
import { type Enrolment, enrolmentFile, type Identity } from "./enrolment.ts";
import { readIfThere } from "./files.io.ts";
import { postJson } from "./http.io.ts";
import { CA_FILE, type Reach } from "./reach.io.ts";

/** What enrolling needs. */
export interface EnrolOptions {
  readonly stateDir: string;
  /** Where the fleet server's REST API is, for example http://127.0.0.1:8080. */
  readonly serverUrl: string;
  readonly token: string;
  readonly device: string;
  readonly serial?: string;
  /** How the server is reached; directly by default. */
  readonly reach?: Reach;
  /** PEM of the CA that is pinned with the enrolment. */
  readonly ca?: string;
  readonly nowMs: () => number;
}

/**
 * Makes the device's key, proves to the server that it holds it, and keeps what the server answers. The key is durable
 * before the server hears of it, so that a power cut at any moment leaves a device that can try again with the same key.
 */
export async function enrol(options: EnrolOptions): Promise<Result<Enrolment>> {
  const { stateDir, serverUrl, token, device, serial, nowMs } = options;
  try {
    makeFolder(stateDir);
    const file = join(stateDir, ENROLMENT_FILE);
    if (readIfThere(file) !== undefined) return err("DEVICE_ENROLLED_ALREADY", { stateDir });
    const seed = ownSeed(stateDir);
    if (!seed.ok) return seed;
    const publicHex = Buffer.from(keyPairOf(seed.value).publicKey).toString("hex");
    const named = serial === undefined ? {} : { serial };
    const request: EnrolmentRequest = {
      token,
      device,
      ...named,
      key: { type: "ed25519", publicHex },
      signatureHex: signBytes(enrolmentBytes({ token, device, publicHex, ...named }), seed.value).toString("hex"),
    };
    const answer = await postJson(serverUrl, "v1/enrolment", request, enrolmentResponse, options.reach);
    if (!answer.ok) return answer;
    const enrolment: Enrolment = { ...answer.value, v: 1, serverUrl, publicHex, enrolledAtMs: nowMs() };
    // First: a device that is enrolled must never be without the CA it was told to believe.
    if (options.ca !== undefined) writeDurably(join(stateDir, CA_FILE), options.ca);
    writeDurably(file, `${JSON.stringify(enrolment, undefined, 2)}\n`);
    return ok(enrolment);
  } catch (cause) {
    return fileTrouble(stateDir, cause);
  }
}

/** Who the device is, from its state directory. */
export function readIdentity(stateDir: string): Result<Identity> {
  try {
    const text = readIfThere(join(stateDir, ENROLMENT_FILE));
    if (text === undefined) return err("AGENT_NOT_ENROLLED", { stateDir });
    const enrolment = enrolmentFile.parse(text, 131_072);
    if (!enrolment.ok) return enrolment;
    // Power may have failed between a change of keys and the new file's final name: the enrolment says which counts.
    for (const file of [KEY_FILE, NEXT_KEY_FILE]) {
      const seed = readSeed(stateDir, file);
      if (!seed.ok) continue;
      const publicHex = Buffer.from(keyPairOf(seed.value).publicKey).toString("hex");
      if (publicHex === enrolment.value.publicHex) return ok({ enrolment: enrolment.value, seed: seed.value });
    }
    return err("DEVICE_KEY_UNUSABLE", { stateDir });
  } catch (cause) {
    return fileTrouble(stateDir, cause);
  }
}

export const ENROLMENT_FILE = "enrolment.json";
export const KEY_FILE = "device.key";
/** The key that is to follow, until the enrolment names it. */
export const NEXT_KEY_FILE = "device.key.next";

function ownSeed(stateDir: string): Result<Uint8Array> {
  const path = join(stateDir, KEY_FILE);
  const kept = readIfThere(path);
  if (kept === undefined) {
    const seed = randomBytes(32);
    writeDurably(path, `${seed.toString("hex")}\n`);
    return ok(seed);
  }
  return readSeed(stateDir, KEY_FILE);
}

/** The seed that a key's file holds. */
export function readSeed(stateDir: string, file: string): Result<Uint8Array> {
  const text = readIfThere(join(stateDir, file)) ?? "";
  return /^[0-9a-f]{64}\n?$/.test(text)
    ? ok(Buffer.from(text.trim(), "hex"))
    : err("DEVICE_KEY_UNUSABLE", { stateDir });
}

/** What the disk said, as a problem; what is no fault of a disk is thrown on. */
export function fileTrouble(stateDir: string, cause: unknown) {
  const { code } = cause as NodeJS.ErrnoException;
  if (code === undefined) throw cause;
  return err("STATE_DIRECTORY_UNUSABLE", { stateDir, reason: code });
}
