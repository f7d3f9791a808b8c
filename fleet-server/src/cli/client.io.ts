import { randomUUID } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import { TransportError } from "@bellwether/protocol/tls/dial.io.ts";
import { type Asking, fetchOver } from "@bellwether/protocol/tls/fetch.io.ts";
import { DIRECT, type Transport } from "@bellwether/protocol/tls/transport.ts";
import { CliFailure, failure } from "./failure.ts";

export type Query = Readonly<Record<string, string | number | boolean | readonly string[] | undefined>>;
export type BodyBytes = Uint8Array<ArrayBuffer> | ReadableStream<Uint8Array>;

/** The REST API as commands use it. Paths are below the server's URL; a problem of the server becomes a CliFailure. */
export interface Client {
  readonly url: string;
  get<T>(path: string, query?: Query): Promise<T>;
  /** Every item of a paged list, page by page. */
  list<T>(path: string, query?: Query): AsyncGenerator<T>;
  /**
   * Sends JSON; a POST carries an Idempotency-Key, and so is tried again where the connection broke, and where the server
   * says when to come back.
   */
  post<T>(path: string, body?: unknown): Promise<T>;
  put<T>(path: string, body: unknown): Promise<T>;
  patch<T>(path: string, body: unknown): Promise<T>;
  delete<T>(path: string): Promise<T>;
  /** Sends raw bytes. */
  send<T>(method: "PUT" | "POST", path: string, bytes: BodyBytes, contentType: string, query?: Query): Promise<T>;
  /** The bytes of an answer as they arrive. */
  stream(path: string, query?: Query): Promise<AsyncIterable<Uint8Array>>;
}

/**
 * A path with names in it: at`/v1/devices/${device}`. Whatever a person or a script gives as a name stays one member of
 * the path: "x/../../devices/gw-1/revoke" must not become another order.
 */
export function at(parts: TemplateStringsArray, ...names: readonly (string | number)[]): string {
  return parts.reduce((path, part, index) => path + segment(names[index - 1] ?? "") + part);
}

function segment(name: string | number): string {
  const text = String(name);
  // URLs take these two for steps, escaped or not.
  if (/^\.{0,2}$/.test(text)) throw failure("ARGUMENT_INVALID", { name: `"${text}"`, expected: "must be a name" });
  return encodeURIComponent(text);
}

const TRIES = 3;
/** How long a busy server is asked again before its answer is believed. */
const BUSY_MS_MAX = 600_000;

/** A client of the server at `url`; `signal` gives up whatever is under way, `say` tells people what they wait for. */
export function createClient(
  url: string,
  token: string | undefined,
  signal: AbortSignal,
  say: (sentence: string) => void = () => {},
  transport: Transport = DIRECT,
): Client {
  const base = url.replace(/\/+$/, "");

  async function ask(method: string, path: string, init: Asking, query?: Query, tries = 1): Promise<Response> {
    const target = `${base}${path}${queryText(query)}`;
    const headers = new Headers(init.headers as Record<string, string>);
    if (token !== undefined) headers.set("authorization", `Bearer ${token}`);
    let left = tries;
    let waitedMs = 0;
    for (;;) {
      let response: Response;
      try {
        response = await fetchOver(transport, target, { ...init, method, headers, signal });
      } catch (cause) {
        if (cause instanceof TransportError) throw new CliFailure(cause.problem.code, cause.problem.message);
        if (--left > 0 && !signal.aborted) continue;
        throw failure("SERVER_UNREACHABLE", { url: base, reason: reasonOf(cause) });
      }
      if (response.ok) return response;
      const problem = await problemOf(response, base);
      const backMs = 1_000 * Number(response.headers.get("retry-after") ?? Number.NaN);
      if (tries === 1 || !(backMs > 0) || waitedMs + backMs > BUSY_MS_MAX) throw problem;
      say(`${problem.message} Waiting.`);
      waitedMs += backMs;
      await delay(backMs, undefined, { signal });
    }
  }
  async function json<T>(method: string, path: string, body: unknown, query?: Query): Promise<T> {
    const headers: Record<string, string> = {};
    if (body !== undefined) headers["content-type"] = "application/json";
    const init = body === undefined ? {} : { body: JSON.stringify(body) };
    if (method === "POST") headers["idempotency-key"] = randomUUID();
    // Every JSON call may be repeated: reads, PUT and DELETE by their nature, a POST by its key.
    return await answerOf<T>(await ask(method, path, { ...init, headers }, query, TRIES), base);
  }
  return {
    url: base,
    get: (path, query) => json("GET", path, undefined, query),
    async *list<T>(path: string, query: Query = {}) {
      let cursor: string | undefined;
      do {
        const page = await json<{ items: T[]; next?: string }>("GET", path, undefined, { ...query, cursor });
        yield* page.items;
        cursor = page.next;
      } while (cursor !== undefined);
    },
    post: (path, body) => json("POST", path, body),
    put: (path, body) => json("PUT", path, body),
    patch: (path, body) => json("PATCH", path, body),
    delete: (path) => json("DELETE", path, undefined),
    async send<T>(method: "PUT" | "POST", path: string, bytes: BodyBytes, contentType: string, query?: Query) {
      const init = { body: bytes, headers: { "content-type": contentType } };
      return await answerOf<T>(await ask(method, path, init, query), base);
    },
    async stream(path, query) {
      const response = await ask("GET", path, {}, query);
      return whole(response.body, base);
    },
  };
}

/** The bytes to their end; a connection that breaks midway is a failure with a sentence, and never passes for the end. */
async function* whole(body: ReadableStream<Uint8Array> | null, url: string): AsyncGenerator<Uint8Array> {
  try {
    if (body) yield* body;
  } catch (cause) {
    throw failure("ANSWER_BROKEN", { url, reason: reasonOf(cause) });
  }
}

async function answerOf<T>(response: Response, url: string): Promise<T> {
  const text = await response.text();
  if (text === "") return undefined as T;
  try {
    return JSON.parse(text) as T;
  } catch {
    throw failure("ANSWER_UNREADABLE", { url, http: response.status });
  }
}

async function problemOf(response: Response, url: string): Promise<CliFailure> {
  const body: unknown = await response.json().catch(() => undefined);
  if (typeof body === "object" && body !== null && "code" in body && "detail" in body)
    return new CliFailure(String(body.code), String(body.detail));
  return failure("ANSWER_UNREADABLE", { url, http: response.status });
}

/** fetch says "fetch failed" and hides why in its cause. */
function reasonOf(cause: unknown): string {
  const { cause: inner, message } = cause as Error & { cause?: { code?: string; message?: string } };
  return inner?.code ?? inner?.message ?? message;
}

function queryText(query: Query | undefined): string {
  const parts = new URLSearchParams();
  for (const [name, value] of Object.entries(query ?? {})) {
    if (value === undefined) continue;
    for (const one of Array.isArray(value) ? value : [value]) parts.append(name, String(one));
  }
  const text = parts.toString();
  return text === "" ? "" : `?${text}`;
}
