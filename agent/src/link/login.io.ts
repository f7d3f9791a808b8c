import { performance } from "node:perf_hooks";
import { deviceLoginResponse, nonceResponse } from "@bellwether/protocol/messages/device.ts";
import { err, ok, type Result } from "@bellwether/protocol/result.ts";
import { signBytes } from "@bellwether/protocol/trust/keys.ts";
import { loginBytes } from "@bellwether/protocol/trust/login.ts";
import type { Identity } from "./enrolment.ts";
import { postJson } from "./http.io.ts";
import type { Reach } from "./reach.io.ts";

/** How a device proves to its server who it is, without a clock of its own. */
export interface Login {
  /** User name and password of one MQTT connection; each nonce serves once. */
  mqtt(): Promise<Result<{ readonly username: string; readonly password: string }>>;
  /** The bearer token for metadata and blobs over HTTP. `renew` after the server refused the last one. */
  httpToken(renew?: boolean): Promise<Result<string>>;
}

// The token says when it expires, but the device's clock may be wrong by years: it is renewed by its age here instead.
const TOKEN_AGE_MS_MAX = 240_000;

/** A nonce of the server's for this device, to sign something with. */
export async function freshNonce({ enrolment }: Identity, reach?: Reach): Promise<Result<string>> {
  const { serverUrl, device, brokerId } = enrolment;
  const answer = await postJson(serverUrl, "v1/device/nonce", { device }, nonceResponse, reach);
  if (!answer.ok) return answer;
  const { nonce, brokerId: actual } = answer.value;
  // Whoever passes on another broker's nonce wants a signature that opens that broker.
  return actual === brokerId ? ok(nonce) : err("BROKER_NOT_OURS", { expected: brokerId, actual });
}

/** The login of an enrolled device; `identity` is asked each time, for its key may change. */
export function createLogin(identity: () => Identity, reach?: Reach): Login {
  let token: { readonly text: string; readonly sinceMs: number; readonly publicHex: string } | undefined;

  async function proof(): Promise<Result<{ nonce: string; signatureHex: string }>> {
    const { enrolment, seed } = identity();
    const { device, brokerId } = enrolment;
    const nonce = await freshNonce({ enrolment, seed }, reach);
    if (!nonce.ok) return nonce;
    const signed = signBytes(loginBytes(brokerId, device, nonce.value), seed);
    return ok({ nonce: nonce.value, signatureHex: signed.toString("hex") });
  }

  return {
    async mqtt() {
      const signed = await proof();
      if (!signed.ok) return signed;
      const { site, device } = identity().enrolment;
      return ok({ username: `${site}/${device}`, password: `${signed.value.nonce}.${signed.value.signatureHex}` });
    },
    async httpToken(renew = false) {
      const { serverUrl, device, publicHex } = identity().enrolment;
      const young = token !== undefined && performance.now() - token.sinceMs < TOKEN_AGE_MS_MAX;
      if (!renew && token?.publicHex === publicHex && young) return ok(token.text);
      const signed = await proof();
      if (!signed.ok) return signed;
      const body = { device, ...signed.value };
      const answer = await postJson(serverUrl, "v1/device/login", body, deviceLoginResponse, reach);
      if (!answer.ok) return answer;
      token = { text: answer.value.token, sinceMs: performance.now(), publicHex };
      return ok(token.text);
    },
  };
}
