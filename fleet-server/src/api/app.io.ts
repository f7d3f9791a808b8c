import { randomUUID } from "node:crypto";
import { STATUS_CODES } from "node:http";
import type { Writable } from "node:stream";
import { problem } from "@bellwether/protocol/errors.ts";
import Fastify, { type FastifyError, type FastifyInstance } from "fastify";
import { RateLimiter } from "../governance/rate.ts";
import { problemAnswer, sendProblem, sendText } from "./answer.io.ts";
import type { Caller } from "./caller.ts";
import { admit, handle, type Pipeline, problemOfThrown } from "./pipeline.io.ts";
import type { Method, Route } from "./route.ts";
import type { AuditSink, IdempotencySink } from "./sinks.ts";

/** Bounds of the REST API. */
export interface ApiLimits {
  /** Largest JSON body in bytes; a route may say otherwise. */
  readonly bodyBytesMax: number;
  /** Requests per minute of one address to a public route, and without a valid token to any other. */
  readonly publicPerMinute: number;
  /** How many of these at once. */
  readonly publicBurst: number;
  /** A whole request must have arrived by then. */
  readonly requestTimeoutMs: number;
}

export const API_LIMITS: ApiLimits = {
  bodyBytesMax: 1_048_576,
  publicPerMinute: 300,
  publicBurst: 100,
  requestTimeoutMs: 300_000,
};

/** One answered request, for metrics. */
export interface Answered {
  /** The operation, or "none" where no route matched. */
  readonly operation: string;
  readonly method: string;
  readonly http: number;
  readonly durationMs: number;
}

export interface AppOptions {
  readonly routes: readonly Route[];
  /** Whose token this is; undefined for an unknown, expired or revoked one. */
  authenticate(token: string, nowMs: number): Promise<Caller | undefined>;
  readonly audit: AuditSink;
  readonly idempotency: IdempotencySink;
  readonly limits?: Partial<ApiLimits>;
  /** Proxies whose X-Forwarded-For is believed; by default none. */
  readonly trustProxy?: readonly string[];
  readonly clock?: () => number;
  /** Certificate (with what it is signed by) and key, as PEM: HTTPS instead of HTTP. */
  readonly tls?: { readonly certificate: string; readonly key: string };
  /** Asks whoever connects for a certificate, which MQTT over WebSocket is judged by; nobody must have one here. */
  readonly requestCert?: boolean;
  /** Told what failed inside, with the request id the caller got as its reference. */
  report?(problem: string, cause: unknown): void;
  observe?(answered: Answered): void;
  /** For tests: an answer that does not fit its schema, or a code that is not declared, becomes INTERNAL. */
  readonly checkAnswers?: boolean;
}

const METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"] as const;

/** How long a closing server waits for requests under way. */
const CLOSE_GRACE_MS = 2000;

/**
 * The REST API over these routes; not yet listening. Every answer carries `x-request-id`; every error is
 * problem+json with a stable code.
 */
export async function buildApp(options: AppOptions): Promise<FastifyInstance> {
  const limits: ApiLimits = { ...API_LIMITS, ...options.limits };
  const asking = { requestCert: options.requestCert ?? false, rejectUnauthorized: false };
  const app = Fastify({
    // Fastify's types know either kind of server, not one that a setting chooses.
    ...({ https: options.tls ? { ...secureOptions(options.tls), ...asking } : null } as { https: null }),
    logger: false,
    // Fastify would cut off a request by its own body limit before our code could say so; body.io.ts bounds bodies.
    bodyLimit: Number.MAX_SAFE_INTEGER,
    requestTimeout: limits.requestTimeoutMs,
    trustProxy: options.trustProxy ? [...options.trustProxy] : false,
    routerOptions: { maxParamLength: 512 },
    genReqId: (request) => acceptableId(request.headers["x-request-id"]) ?? randomUUID(),
    exposeHeadRoutes: true,
    // Its own 503 is no problem of ours; see addCommonAnswers.
    return503OnClosing: false,
    forceCloseConnections: "idle",
    clientErrorHandler: (error, socket) => {
      // What never became a request: there is nobody to answer but the socket. Node has parsed no header to keep.
      if (!socket.writable || error.code === "ECONNRESET") return void socket.destroy();
      const wrong =
        error.code === "ERR_HTTP_REQUEST_TIMEOUT"
          ? problem("REQUEST_TIMEOUT")
          : problem("BAD_REQUEST", { reason: `malformed HTTP (${error.code ?? "unknown"})` });
      const { status, contentType, text } = problemAnswer(wrong, randomUUID());
      socket.end(
        `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ""}\r\ncontent-type: ${contentType}\r\n` +
          `content-length: ${Buffer.byteLength(text)}\r\nconnection: close\r\n\r\n${text}`,
      );
    },
    frameworkErrors: (error, request, reply) => {
      // Met before any hook runs: a path that is not percent-encoded UTF-8, a method nobody knows.
      reply.header("x-request-id", request.id);
      sendProblem(reply as never, problem("BAD_REQUEST", { reason: frameworkReason(error) }));
    },
  });
  const pipeline: Pipeline = {
    authenticate: options.authenticate,
    audit: options.audit,
    idempotency: options.idempotency,
    limits,
    clock: options.clock ?? Date.now,
    limiter: new RateLimiter(),
    report: options.report ?? (() => {}),
    checkAnswers: options.checkAnswers ?? false,
    live: new Set(),
  };
  let closing = false;
  app.addHook("preClose", async () => {
    closing = true;
    closeGently(app, pipeline.live);
  });
  takeRawBodies(app);
  addCommonAnswers(app, options, pipeline, () => closing);
  addRoutes(app, options.routes, pipeline);
  await app.ready();
  return app;
}

/** What a TLS server is told of its certificate, at its start and when that was renewed. */
export function secureOptions({ certificate, key }: NonNullable<AppOptions["tls"]>) {
  return { cert: certificate, key, minVersion: "TLSv1.2" as const };
}

/** Cuts endless streams, lets requests under way finish, and hangs up on whoever is then idle or still slow. */
function closeGently(app: FastifyInstance, live: Iterable<Writable>): void {
  for (const answer of live) answer.destroy();
  const idle = setInterval(() => app.server.closeIdleConnections(), 20);
  const late = setTimeout(() => app.server.closeAllConnections(), CLOSE_GRACE_MS);
  app.server.once("close", () => {
    clearInterval(idle);
    clearTimeout(late);
  });
}

/** Bodies reach the handlers unread: what may be read, and how much of it, is decided there. */
function takeRawBodies(app: FastifyInstance): void {
  app.removeAllContentTypeParsers();
  app.addContentTypeParser("*", (_request, payload, done) => done(null, payload));
}

function addCommonAnswers(
  app: FastifyInstance,
  options: AppOptions,
  pipeline: Pipeline,
  isClosing: () => boolean,
): void {
  app.addHook("onRequest", async (request, reply) => {
    reply.header("x-request-id", request.id).header("x-content-type-options", "nosniff");
    reply.header("cache-control", "no-store");
    // On a connection that is still at work: what came before is answered yet, nothing new is begun.
    if (isClosing()) return sendProblem(reply, problem("UNAVAILABLE", { reason: "the server is closing" }));
  });
  app.addHook("onResponse", async (request, reply) => {
    const config = request.routeOptions.config as { operation?: string };
    const operation = config.operation ?? "none";
    options.observe?.({ operation, method: request.method, http: reply.statusCode, durationMs: reply.elapsedTime });
  });
  app.setNotFoundHandler((_request, reply) => sendProblem(reply, problem("ROUTE_NOT_FOUND")));
  app.setErrorHandler<FastifyError>((error, request, reply) => {
    if (error.code === "FST_ERR_CTP_INVALID_MEDIA_TYPE")
      return sendProblem(
        reply,
        problem("UNSUPPORTED_MEDIA_TYPE", { actual: "(unreadable)", expected: "a valid type" }),
      );
    if (typeof error.statusCode === "number" && error.statusCode >= 400 && error.statusCode < 500)
      return sendProblem(reply, problem("BAD_REQUEST", { reason: frameworkReason(error) }));
    return sendProblem(reply, problemOfThrown(pipeline, error, request));
  });
}

function addRoutes(app: FastifyInstance, routes: readonly Route[], pipeline: Pipeline): void {
  const operations = new Set<string>();
  const methodsOf = new Map<string, Set<Method>>();
  for (const route of routes) {
    if (operations.has(route.operation)) throw new Error(`two routes are called ${route.operation}`);
    operations.add(route.operation);
    methodsOf.set(route.path, (methodsOf.get(route.path) ?? new Set()).add(route.method));
    app.route({
      method: route.method,
      url: route.path,
      config: { operation: route.operation },
      onRequest: (request, reply) => admit(pipeline, route, request, reply),
      handler: (request, reply) => handle(pipeline, route, request, reply),
    });
  }
  for (const [path, present] of methodsOf) {
    const allowed = [...present, ...(present.has("GET") ? ["HEAD"] : [])].join(", ");
    const refuse = METHODS.filter((method) => !present.has(method));
    app.route({
      method: [...refuse, ...(present.has("GET") ? [] : ["HEAD"]), "OPTIONS", "TRACE"],
      url: path,
      onRequest: async (request, reply) =>
        sendProblem(reply.header("allow", allowed), problem("METHOD_NOT_ALLOWED", { method: request.method, allowed })),
      handler: (_request, reply) => sendText(reply, { status: 405, contentType: "", text: "" }),
    });
  }
}

function acceptableId(header: string | string[] | undefined): string | undefined {
  return typeof header === "string" && /^[A-Za-z0-9._-]{1,64}$/.test(header) ? header : undefined;
}

/** What the framework disliked, without its own text (which names the framework and may quote the input). */
function frameworkReason(error: { readonly code?: string }): string {
  if (error.code === "FST_ERR_BAD_URL") return "the path is not percent-encoded UTF-8";
  return `malformed request (${error.code ?? "unknown"})`;
}
