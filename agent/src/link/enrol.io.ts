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
    const file = join(stateDir, "enrolment.json");
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
    const text = readIfThere(join(stateDir, "enrolment.json"));
    const key = readIfThere(join(stateDir, KEY_FILE));
    if (text === undefined || key === undefined) return err("AGENT_NOT_ENROLLED", { stateDir });
    const enrolment = enrolmentFile.parse(text, 131_072);
    if (!enrolment.ok) return enrolment;
    const seed = seedOf(key);
    const publicHex = seed && Buffer.from(keyPairOf(seed).publicKey).toString("hex");
    if (seed === undefined || publicHex !== enrolment.value.publicHex) return err("DEVICE_KEY_UNUSABLE", { stateDir });
    return ok({ enrolment: enrolment.value, seed });
  } catch (cause) {
    return fileTrouble(stateDir, cause);
  }
}

const KEY_FILE = "device.key";

function ownSeed(stateDir: string): Result<Uint8Array> {
  const path = join(stateDir, KEY_FILE);
  const kept = readIfThere(path);
  if (kept === undefined) {
    const seed = randomBytes(32);
    writeDurably(path, `${seed.toString("hex")}\n`);
    return ok(seed);
  }
  const seed = seedOf(kept);
  return seed === undefined ? err("DEVICE_KEY_UNUSABLE", { stateDir }) : ok(seed);
}

function seedOf(text: string): Uint8Array | undefined {
  return /^[0-9a-f]{64}\n?$/.test(text) ? Buffer.from(text.trim(), "hex") : undefined;
}

function fileTrouble(stateDir: string, cause: unknown) {
  const { code } = cause as NodeJS.ErrnoException;
  if (code === undefined) throw cause;
  return err("STATE_DIRECTORY_UNUSABLE", { stateDir, reason: code });
}
