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

/** The login of an enrolled device. */
export function createLogin({ enrolment, seed }: Identity, reach?: Reach): Login {
  const { serverUrl, device, site, brokerId } = enrolment;
  let token: { readonly text: string; readonly sinceMs: number } | undefined;

  async function proof(): Promise<Result<{ nonce: string; signatureHex: string }>> {
    const answer = await postJson(serverUrl, "v1/device/nonce", { device }, nonceResponse, reach);
    if (!answer.ok) return answer;
    const { nonce, brokerId: actual } = answer.value;
    // Whoever passes on another broker's nonce wants a signature that opens that broker.
    if (actual !== brokerId) return err("BROKER_NOT_OURS", { expected: brokerId, actual });
    return ok({ nonce, signatureHex: signBytes(loginBytes(brokerId, device, nonce), seed).toString("hex") });
  }

  return {
    async mqtt() {
      const signed = await proof();
      if (!signed.ok) return signed;
      return ok({ username: `${site}/${device}`, password: `${signed.value.nonce}.${signed.value.signatureHex}` });
    },
    async httpToken(renew = false) {
      if (!renew && token !== undefined && performance.now() - token.sinceMs < TOKEN_AGE_MS_MAX) return ok(token.text);
      const signed = await proof();
      if (!signed.ok) return signed;
      const body = { device, ...signed.value };
      const answer = await postJson(serverUrl, "v1/device/login", body, deviceLoginResponse, reach);
      if (!answer.ok) return answer;
      token = { text: answer.value.token, sinceMs: performance.now() };
      return ok(token.text);
    },
  };
}
