import type { Writable } from "node:stream";
import { httpStatusOf, type Problem, problem } from "@bellwether/protocol/errors.ts";
import { err, ok, type Result } from "@bellwether/protocol/result.ts";
import type { FastifyReply, FastifyRequest } from "fastify";
import type { RateLimiter } from "../governance/rate.ts";
import { StoreBusy } from "../store/store.ts";
import {
  jsonAnswer,
  jsonText,
  problemAnswer,
  sendArtifact,
  sendProblem,
  sendStream,
  sendTagged,
  sendText,
} from "./answer.io.ts";
import type { ApiLimits } from "./app.io.ts";
import { BodyTooLarge, type ReadBody, readBody } from "./body.io.ts";
import { allows, type Caller, callerName, siteScope } from "./caller.ts";
import { answerableCodes, IDEMPOTENCY_KEY } from "./codes.ts";
import { parseParams, parseQuery } from "./query.ts";
import { type ArtifactAnswer, type Context, isRawBody, type Route, roleNeeded, type StreamAnswer } from "./route.ts";
import type { AuditedCall, AuditSink, IdempotencySink, IdempotentCall } from "./sinks.ts";

/** What the steps of a request need. */
export interface Pipeline {
  authenticate(token: string, nowMs: number): Promise<Caller | undefined>;
  readonly audit: AuditSink;
  readonly idempotency: IdempotencySink;
  readonly limits: ApiLimits;
  readonly clock: () => number;
  readonly limiter: RateLimiter;
  report(problem: string, cause: unknown): void;
  readonly checkAnswers: boolean;
  /** Answers whose stream is under way: a closing server waits for answers, but not for what never ends. */
  readonly live: Set<Writable>;
}

/** What `admit` found out and `handle` goes on with. */
interface Admitted {
  readonly caller: Caller;
  readonly token: string;
}
const admitted = new WeakMap<FastifyRequest, Admitted>();

/**
 * Before anything of the body is read: who is calling, how often, and may they? A refusal is the same whether what was
 * asked for exists or not.
 */
export async function admit(
  pipeline: Pipeline,
  route: Route,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<FastifyReply | undefined> {
  const nowMs = pipeline.clock();
  const token = bearer(request.headers.authorization);
  const isPublic = route.access.includes("public");
  if (isPublic) {
    const waitMs = takeFrom(pipeline, route, request.ip, nowMs);
    if (waitMs > 0) return sendProblem(reply, tooMany(waitMs));
    admitted.set(request, { caller: { kind: "nobody" }, token: "" });
    return undefined;
  }
  const caller = token === undefined ? undefined : await pipeline.authenticate(token, nowMs);
  if (token === undefined || !caller) {
    // Guesses are limited; a caller with a valid token never stands in this queue.
    const waitMs = takeFrom(pipeline, route, request.ip, nowMs);
    return sendProblem(reply, waitMs > 0 ? tooMany(waitMs) : problem("UNAUTHENTICATED"));
  }
  if (!allows(route.access, caller) || (route.wholeFleet && siteScope(caller) !== undefined)) {
    if (route.audited) {
      const call = auditedCall(route, request, caller, nowMs, undefined);
      await pipeline.audit.refused(call, { http: 403, code: "FORBIDDEN" });
    }
    return sendProblem(reply, problem("FORBIDDEN", { role: roleNeeded(route) }));
  }
  admitted.set(request, { caller, token });
  return undefined;
}

/** Reads, checks, handles and answers an admitted request. */
export async function handle(
  pipeline: Pipeline,
  route: Route,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<FastifyReply> {
  const who = admitted.get(request);
  if (!who) throw new Error("a request reached its handler without being admitted");
  const nowMs = pipeline.clock();
  const input = await readInput(pipeline, route, request);
  if (!input.ok) {
    if (route.audited && who.caller.kind !== "nobody") {
      const call = auditedCall(route, request, who.caller, nowMs, undefined);
      await pipeline.audit.refused(call, outcomeOf(input.error));
    }
    return sendProblem(reply, input.error);
  }
  const repeatable = idempotentCall(route, request, who, input.value.body, nowMs);
  if (!repeatable.ok) return sendProblem(reply, repeatable.error);
  if (repeatable.value) {
    const kept = await pipeline.idempotency.begin(repeatable.value);
    if (!kept.ok) return sendProblem(reply, kept.error);
    if (kept.value) return sendText(reply.header("idempotent-replayed", "true"), kept.value);
  }
  return await run(pipeline, route, request, reply, { ...input.value, who, repeatable: repeatable.value, nowMs });
}

interface Input {
  readonly params: unknown;
  readonly query: unknown;
  readonly body: ReadBody;
}
interface Prepared extends Input {
  readonly who: Admitted;
  readonly repeatable: IdempotentCall | undefined;
  readonly nowMs: number;
}

async function readInput(pipeline: Pipeline, route: Route, request: FastifyRequest): Promise<Result<Input>> {
  const params = parseParams(request.params as Record<string, string>, route.params.properties);
  if (!params.ok) return params;
  const goodParams = route.validators.params.check(params.value);
  if (!goodParams.ok) return renamed(goodParams.error, "INVALID_PATH");
  const cut = request.url.indexOf("?");
  const query = parseQuery(cut < 0 ? "" : request.url.slice(cut + 1), route.query.properties);
  if (!query.ok) return query;
  const goodQuery = route.validators.query.check(query.value);
  if (!goodQuery.ok) return renamed(goodQuery.error, "INVALID_QUERY");
  const headers = {
    contentType: request.headers["content-type"],
    contentLength: request.headers["content-length"],
    transferEncoding: request.headers["transfer-encoding"],
  };
  const bytesMax = route.bodyBytesMax ?? pipeline.limits.bodyBytesMax;
  const body = await readBody(route, request.raw, headers, bytesMax);
  if (!body.ok) return body;
  return ok({ params: goodParams.value, query: goodQuery.value, body: body.value });
}

/** A schema's complaint about a path or query member, in the words of that place. */
function renamed(wrong: Problem, code: "INVALID_PATH" | "INVALID_QUERY") {
  const name = String(wrong.detail["path"]).slice(1) || String(wrong.detail["expected"]);
  return err(code, { name, expected: wrong.detail["expected"] });
}

async function run(
  pipeline: Pipeline,
  route: Route,
  request: FastifyRequest,
  reply: FastifyReply,
  prepared: Prepared,
): Promise<FastifyReply> {
  const { who, repeatable, body, nowMs } = prepared;
  const call = auditedCall(route, request, who.caller, nowMs, body.digest());
  // A public call is entered once it has succeeded: anybody could fill the log with failures.
  const intent = route.audited && who.caller.kind !== "nobody" ? await pipeline.audit.begin(call) : undefined;
  const result = await judged(pipeline, route, request, callHandler(pipeline, route, request, reply, prepared));
  const digest = body.digest();
  const outcome = {
    ...(result.ok ? ({ http: route.success, code: "OK" } as const) : outcomeOf(result.error)),
    ...(digest === undefined ? {} : { bodyDigest: digest }),
  };
  if (intent !== undefined) await pipeline.audit.end(intent, outcome);
  else if (route.audited && result.ok) await pipeline.audit.refused(call, outcome);
  if (!result.ok) {
    if (repeatable) {
      // What the server could not do now may succeed the next time with the same key.
      if (httpStatusOf(result.error.code) >= 500) await pipeline.idempotency.release(repeatable);
      else await pipeline.idempotency.keep(repeatable, problemAnswer(result.error, request.id));
    }
    return sendProblem(reply, result.error);
  }
  if (route.answer === "stream") return sendStream(reply, route.success, result.value as StreamAnswer, pipeline.live);
  if (route.answer === "artifact") return sendArtifact(request, reply, result.value as ArtifactAnswer);
  const answer = jsonAnswer(route.success, route.answer === "none" ? undefined : result.value);
  if (repeatable) await pipeline.idempotency.keep(repeatable, answer);
  return route.method === "GET" ? sendTagged(request, reply, answer) : sendText(reply, answer);
}

async function callHandler(
  pipeline: Pipeline,
  route: Route,
  request: FastifyRequest,
  reply: FastifyReply,
  prepared: Prepared,
): Promise<Result<unknown>> {
  let gone: AbortSignal | undefined;
  const context: Context<unknown, unknown, unknown> = {
    params: prepared.params,
    query: prepared.query,
    body: prepared.body.value,
    caller: prepared.who.caller,
    request: {
      id: request.id,
      ip: request.ip,
      header: (name) => {
        const value = request.headers[name];
        return Array.isArray(value) ? value[0] : value;
      },
      get signal() {
        gone ??= goneSignal(reply);
        return gone;
      },
      nowMs: prepared.nowMs,
    },
    reply: { header: (name, value) => void reply.header(name, value) },
  };
  try {
    return await route.handler(context);
  } catch (cause) {
    return { ok: false, error: problemOfThrown(pipeline, cause, request) };
  } finally {
    // A handler that did not read its raw body to the end must not leave the connection full of it.
    if (route.body && isRawBody(route.body) && !request.raw.readableEnded) request.raw.resume();
  }
}

/** Aborts when the client goes away before its answer is complete. Few handlers ask, so it is made for those. */
function goneSignal(reply: FastifyReply): AbortSignal {
  const gone = new AbortController();
  const closed = () => {
    if (!reply.raw.writableFinished) gone.abort();
  };
  if (reply.raw.closed) closed();
  else reply.raw.once("close", closed);
  return gone.signal;
}

/** What a thrown error is to the caller. Only the log learns more than that something failed inside. */
export function problemOfThrown(pipeline: Pipeline, cause: unknown, request: FastifyRequest): Problem {
  if (cause instanceof BodyTooLarge) {
    const { limit } = cause;
    return problem("TOO_LARGE", { what: "The body", actual: `over ${limit}`, unit: "bytes", limit });
  }
  if (cause instanceof StoreBusy) return problem("UNAVAILABLE", { reason: cause.message });
  // Nobody is there to read the answer; it is nothing that failed inside, and a handler's raw body may end this way too.
  if (request.raw.destroyed && !request.raw.complete) return problem("BAD_REQUEST", { reason: "the client hung up" });
  pipeline.report(`request ${request.id} (${request.method} ${request.routeOptions.url ?? ""}) failed inside`, cause);
  return problem("INTERNAL", { reference: request.id });
}

/** In tests: what the OpenAPI document promises is what is answered. */
async function judged(
  pipeline: Pipeline,
  route: Route,
  _request: FastifyRequest,
  answering: Promise<Result<unknown>>,
): Promise<Result<unknown>> {
  const result = await answering;
  if (!pipeline.checkAnswers) return result;
  const complaint = result.ok
    ? route.validators.answer && complaintOf(route.validators.answer.check(JSON.parse(jsonText(result.value))))
    : answerableCodes(route).includes(result.error.code)
      ? undefined
      : `${route.operation} answers ${result.error.code}, which its errors do not declare`;
  if (complaint === undefined) return result;
  pipeline.report(complaint, undefined);
  return err("INTERNAL", { reference: complaint });
}

function complaintOf(checked: Result<unknown>): string | undefined {
  return checked.ok ? undefined : checked.error.message;
}

function idempotentCall(
  route: Route,
  request: FastifyRequest,
  who: Admitted,
  body: ReadBody,
  nowMs: number,
): Result<IdempotentCall | undefined> {
  const key = request.headers["idempotency-key"];
  // What changes nothing, or the same thing again by its method, needs no key.
  if (key === undefined || route.method !== "POST" || !route.audited) return ok(undefined);
  const refuse = (expected: string) => err("INVALID_HEADER", { name: "Idempotency-Key", expected });
  if (typeof key !== "string" || !IDEMPOTENCY_KEY.test(key))
    return refuse("must be 1 to 128 printable ASCII characters");
  if (who.caller.kind === "nobody") return refuse("a public route cannot tell one caller from another");
  if (route.body && isRawBody(route.body)) return refuse("a route of raw bytes takes none");
  const target = `${request.method} ${request.url}`;
  return ok({ key, token: who.token, caller: callerName(who.caller), target, bodyDigest: body.digest(), nowMs });
}

function auditedCall(
  route: Route,
  request: FastifyRequest,
  caller: Caller,
  atMs: number,
  bodyDigest: string | undefined,
): AuditedCall {
  const target = `${request.method} ${request.url.slice(0, 1024)}`;
  return { requestId: request.id, caller, operation: route.operation, target, bodyDigest, atMs };
}

function outcomeOf(wrong: Problem) {
  return { http: problemAnswer(wrong, "").status, code: wrong.code };
}

/** Milliseconds to wait, 0 for none. Routes with a rate of their own have buckets of their own. */
function takeFrom(pipeline: Pipeline, route: Route, ip: string, nowMs: number): number {
  if (route.ratePerMinute !== undefined) {
    const limit = { perMinute: route.ratePerMinute, burst: Math.max(1, Math.ceil(route.ratePerMinute / 4)) };
    return pipeline.limiter.take(`${route.operation} ${ip}`, limit, nowMs);
  }
  const { publicPerMinute, publicBurst } = pipeline.limits;
  return pipeline.limiter.take(ip, { perMinute: publicPerMinute, burst: publicBurst }, nowMs);
}

function tooMany(waitMs: number): Problem {
  return problem("RATE_LIMITED", { retryAfterSeconds: Math.ceil(waitMs / 1000) });
}

/** The bearer token of an Authorization header; undefined where there is none worth looking up. */
function bearer(header: string | undefined): string | undefined {
  const match = header === undefined ? null : /^Bearer ([\x21-\x7e]{1,512})$/i.exec(header);
  return match?.[1];
}
