import { type IncomingMessage, request } from "node:http";
import { Readable } from "node:stream";
import type { ReadableStream as NodeReadableStream } from "node:stream/web";
import { type Dialing, dial, targetOf } from "./dial.io.ts";
import type { Transport } from "./transport.ts";

/** What is asked; a redirect is always an error. */
export interface Asking {
  readonly method?: string;
  readonly headers?: Headers | Readonly<Record<string, string>>;
  readonly body?: string | Uint8Array | ReadableStream<Uint8Array> | null;
  readonly signal?: AbortSignal;
}

/** Answers that have no body (Fetch, 2.2.3). */
const WITHOUT_BODY = new Set([101, 204, 205, 304]);

/**
 * `fetch` over a transport: with the pinned CA and through the proxy. Where there is neither, Node's own fetch asks,
 * which keeps connections open.
 */
export async function fetchOver(transport: Transport, url: string, asking: Asking = {}, dialing: Dialing = {}) {
  const target = new URL(url);
  const plain = target.protocol === "http:" && transport.proxy === undefined;
  if (plain)
    return await fetch(url, {
      ...asking,
      redirect: "error",
      ...(streams(asking) ? { duplex: "half" } : {}),
    } as RequestInit);
  const { signal } = asking;
  const socket = await dial(targetOf(target), transport, { ...dialing, ...(signal ? { signal } : {}) });
  const headers = Object.fromEntries(new Headers(asking.headers as Record<string, string>));
  const { body } = asking;
  if (typeof body === "string" || body instanceof Uint8Array) headers["content-length"] = `${Buffer.byteLength(body)}`;
  const asked = request({
    method: asking.method ?? "GET",
    path: `${target.pathname}${target.search}`,
    headers: { ...headers, host: target.host },
    createConnection: () => socket,
    ...(signal ? { signal } : {}),
  });
  const answered = new Promise<IncomingMessage>((resolve, reject) => {
    asked.once("response", resolve).once("error", reject);
  });
  if (streams(asking)) {
    // A server that refuses early answers before it has read everything: its answer counts, not the broken pipe.
    const source = Readable.fromWeb(body as NodeReadableStream);
    source.once("error", (cause) => asked.destroy(cause));
    source.pipe(asked);
  } else asked.end(body ?? undefined);
  const answer = await answered;
  asked.on("error", (cause) => answer.destroy(cause));
  return responseOf(answer, url);
}

function streams({ body }: Asking): boolean {
  return body instanceof ReadableStream;
}

function responseOf(answer: IncomingMessage, url: string): Response {
  const status = answer.statusCode ?? 0;
  if (status >= 300 && status < 400 && status !== 304) {
    answer.destroy();
    throw new TypeError("fetch failed", { cause: new Error("unexpected redirect") });
  }
  const headers = new Headers();
  for (const [name, values] of Object.entries(answer.headersDistinct)) {
    for (const value of values ?? []) headers.append(name, value);
  }
  if (WITHOUT_BODY.has(status)) answer.resume();
  const body = WITHOUT_BODY.has(status) ? null : (Readable.toWeb(answer) as ReadableStream<Uint8Array>);
  if (status < 200) throw new TypeError(`${url} answered ${status}`);
  return new Response(body, { status, headers });
}
