import { err, ok, type Result } from "@bellwether/protocol/result.ts";
import type { Validator } from "@bellwether/protocol/schema.ts";
import { TransportError } from "@bellwether/protocol/tls/dial.io.ts";
import { fetchOver } from "@bellwether/protocol/tls/fetch.io.ts";
import { DIRECT } from "@bellwether/protocol/tls/transport.ts";
import type { Reach } from "./reach.io.ts";

const TIMEOUT_MS = 10_000;
const ANSWER_BYTES_MAX = 65_536;

/** Posts JSON where nothing is answered but that it was taken. */
export async function postNothing(
  serverUrl: string,
  path: string,
  body: object,
  reach: Reach,
  token: string,
): Promise<Result<void>> {
  const nothing = { parse: () => ok(undefined) };
  return await postJson(serverUrl, path, body, nothing, reach, token);
}

/** Posts JSON below a server's URL and reads a JSON answer, bounded in time and size. Whatever goes wrong is a value. */
export async function postJson<T>(
  serverUrl: string,
  path: string,
  body: object,
  answer: Pick<Validator<T>, "parse">,
  reach?: Reach,
  token?: string,
): Promise<Result<T>> {
  let url = serverUrl;
  try {
    url = new URL(path, serverUrl.endsWith("/") ? serverUrl : `${serverUrl}/`).href;
    const asking = {
      method: "POST",
      headers: {
        "content-type": "application/json",
        ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
      },
      body: JSON.stringify(body),
      signal: AbortSignal.timeout(TIMEOUT_MS),
    };
    const response = await fetchOver(reach?.transport() ?? DIRECT, url, asking, reach);
    const bytes = await readBounded(response);
    if (bytes === undefined) return err("SERVER_UNREACHABLE", { url, reason: "its answer is too long" });
    if (response.ok) return answer.parse(bytes, ANSWER_BYTES_MAX);
    return err("SERVER_REFUSED", { url, http: response.status, ...refusalIn(bytes), ...waitIn(response.headers) });
  } catch (cause) {
    if (cause instanceof TransportError) return { ok: false, error: cause.problem };
    const { message, cause: below } = cause as Error & { cause?: { code?: string } };
    return err("SERVER_UNREACHABLE", { url, reason: below?.code ?? message });
  }
}

async function readBounded(response: Response): Promise<Uint8Array | undefined> {
  const parts: Uint8Array[] = [];
  let length = 0;
  for await (const part of response.body ?? []) {
    length += part.length;
    if (length > ANSWER_BYTES_MAX) return undefined;
    parts.push(part);
  }
  return Buffer.concat(parts);
}

/** In how many seconds to ask again, where the server says so. */
function waitIn(headers: Headers): { retryAfterSeconds?: number } {
  const seconds = headers.get("retry-after") ?? "";
  return /^\d{1,5}$/.test(seconds) ? { retryAfterSeconds: Number(seconds) } : {};
}

/** Code and sentence of a problem document, where the answer is one. */
function refusalIn(bytes: Uint8Array): { code: string; reason: string } {
  try {
    const { code, detail } = JSON.parse(Buffer.from(bytes).toString("utf8")) as { code?: unknown; detail?: unknown };
    const reason = typeof detail === "string" ? detail.slice(0, 500) : "it gave no reason";
    return { code: typeof code === "string" ? code.slice(0, 64) : "none", reason };
  } catch {
    return { code: "none", reason: "its answer is no problem document" };
  }
}
