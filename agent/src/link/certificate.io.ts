import { X509Certificate } from "node:crypto";
import { join } from "node:path";
import { deviceCertificate } from "@bellwether/protocol/messages/device.ts";
import { err, ok, type Result } from "@bellwether/protocol/result.ts";
import { privateKeyPem, publicHexOf } from "@bellwether/protocol/trust/keys.ts";
import { writeDurably } from "../durable.io.ts";
import type { Identity } from "./enrolment.ts";
import { readIfThere } from "./files.io.ts";
import { postJson } from "./http.io.ts";
import type { Login } from "./login.io.ts";
import type { Reach } from "./reach.io.ts";

/** The certificate that the server gave this device, in its state directory. */
const FILE = "device.crt";
/** A server that gave none is asked again after this. */
const ASK_EVERY_MS = 3_600_000;

/** Keeps the device's certificate young, and shows it where TLS asks for one. */
export interface OwnCertificate {
  /** Fetches one where there is none, or it is for another key, or past half of its life. Never in anybody's way. */
  keepYoung(): Promise<Result<void>>;
}

export interface OwnCertificateOptions {
  readonly stateDir: string;
  readonly identity: () => Identity;
  readonly login: Pick<Login, "httpToken">;
  readonly reach: Reach;
  readonly nowMs: () => number;
}

/** The certificate of a device that speaks TLS with its server; what is kept already is shown from now on. */
export function createOwnCertificate(options: OwnCertificateOptions): OwnCertificate {
  const { stateDir, identity, login, reach, nowMs } = options;
  const path = join(stateDir, FILE);
  let askedAtMs = Number.NEGATIVE_INFINITY;
  let pem = readIfThere(path);
  if (isOfKey(pem, identity().enrolment.publicHex)) show(pem);

  function show(certificate: string): void {
    reach.show({ certificate, key: privateKeyPem(identity().seed) });
  }

  return {
    async keepYoung() {
      const { serverUrl, publicHex } = identity().enrolment;
      const ofKey = isOfKey(pem, publicHex);
      if (!serverUrl.startsWith("https:") || (ofKey && isYoung(pem as string, nowMs()))) return ok(undefined);
      // One that is for another key must go at once; otherwise a server that says no is not asked with each connection.
      if (performance.now() - askedAtMs < ASK_EVERY_MS && (ofKey || pem === undefined)) return ok(undefined);
      askedAtMs = performance.now();
      const token = await login.httpToken();
      if (!token.ok) return token;
      const answer = await postJson(serverUrl, "v1/device/certificate", {}, deviceCertificate, reach, token.value);
      if (!answer.ok) return answer;
      const { certificate } = answer.value;
      if (!isOfKey(certificate, publicHex)) return err("DEVICE_KEY_UNUSABLE", { stateDir });
      pem = certificate;
      show(certificate);
      // Without room for it the next start fetches another one.
      writeDurably(path, certificate);
      return ok(undefined);
    },
  };
}

function isOfKey(pem: string | undefined, publicHex: string): pem is string {
  const certificate = parsed(pem);
  return certificate !== undefined && publicHexOf(certificate.publicKey) === publicHex;
}

/** Whether it is in the first half of its life; a clock before its begin or behind its end says that it is not. */
function isYoung(pem: string, nowMs: number): boolean {
  const { validFromDate, validToDate } = new X509Certificate(pem);
  const [fromMs, toMs] = [validFromDate.getTime(), validToDate.getTime()];
  return nowMs >= fromMs && nowMs < fromMs + (toMs - fromMs) / 2;
}

function parsed(pem: string | undefined): X509Certificate | undefined {
  try {
    return pem === undefined ? undefined : new X509Certificate(pem);
  } catch {
    return undefined; // torn or foreign: another one is fetched
  }
}
