import { hash } from "node:crypto";
import { Readable, type Writable } from "node:stream";
import { httpStatusOf, type Problem } from "@bellwether/protocol/errors.ts";
import type { FastifyReply, FastifyRequest } from "fastify";
import { PROBLEM_TYPE, problemBody } from "./problem.ts";
import { matchesEtag, parseRange } from "./range.ts";
import { type ArtifactAnswer, type StreamAnswer, WrittenJson } from "./route.ts";

const JSON_TYPE = "application/json; charset=utf-8";

/** An answer as text, so that idempotency can keep it and ETags can be taken from it. */
export interface TextAnswer {
  readonly status: number;
  readonly contentType: string;
  readonly text: string;
}

/** The text of a success. */
export function jsonAnswer(status: number, value: unknown): TextAnswer {
  return { status, contentType: JSON_TYPE, text: jsonText(value) };
}

/** The JSON of an answer; empty where there is none. */
export function jsonText(value: unknown): string {
  if (value instanceof WrittenJson) return value.text;
  return value === undefined ? "" : JSON.stringify(value);
}

/** The text of a problem. */
export function problemAnswer(problem: Problem, requestId: string): TextAnswer {
  return {
    status: httpStatusOf(problem.code),
    contentType: PROBLEM_TYPE,
    text: JSON.stringify(problemBody(problem, requestId)),
  };
}

/** Sends a problem. */
export function sendProblem(reply: FastifyReply, problem: Problem): FastifyReply {
  if (problem.code === "UNAUTHENTICATED") reply.header("www-authenticate", 'Bearer realm="bellwether"');
  const seconds = problem.detail["retryAfterSeconds"];
  if (typeof seconds === "number") reply.header("retry-after", String(seconds));
  return sendText(reply, problemAnswer(problem, reply.request.id));
}

/** Sends a text answer. */
export function sendText(reply: FastifyReply, answer: TextAnswer): FastifyReply {
  reply.code(answer.status);
  if (answer.text === "") return reply.send();
  return reply.header("content-type", answer.contentType).send(answer.text);
}

/** Sends a JSON answer of a GET with its entity tag, or 304 where the client has it already. */
export function sendTagged(request: FastifyRequest, reply: FastifyReply, answer: TextAnswer): FastifyReply {
  const etag = `"${hash("sha256", answer.text, "base64url").slice(0, 22)}"`;
  reply.header("etag", etag).header("cache-control", "private, no-cache");
  if (matchesEtag(request.headers["if-none-match"], etag)) return reply.code(304).send();
  return sendText(reply, answer);
}

/** Sends a stream, noted in `live` until its end; an error midway breaks the connection, so that no client takes half for the whole. */
export function sendStream(
  reply: FastifyReply,
  status: number,
  answer: StreamAnswer,
  live: Set<Writable>,
): FastifyReply {
  reply.code(status).header("content-type", answer.contentType).header("cache-control", "no-store");
  if (answer.fileName) reply.header("content-disposition", `attachment; filename="${safe(answer.fileName)}"`);
  // HEAD gets the headers only; the body must not be drained for it, it may never end.
  if (reply.request.method === "HEAD") return reply.send(Readable.from([]));
  live.add(reply.raw);
  reply.raw.once("close", () => live.delete(reply.raw));
  return reply.send(Readable.from(answer.body, { objectMode: false }));
}

/** Sends a file, or the range of it that was asked for. */
export function sendArtifact(request: FastifyRequest, reply: FastifyReply, answer: ArtifactAnswer): FastifyReply {
  const etag = `"${answer.etag}"`;
  const cache = answer.immutable === false ? "private, no-cache" : "private, max-age=31536000, immutable";
  reply.header("etag", etag).header("accept-ranges", "bytes").header("cache-control", cache);
  if (matchesEtag(request.headers["if-none-match"], etag)) return reply.code(304).send();
  // If-Range with another tag: the part the client holds is of another file, so it gets the whole new one.
  const ifRange = request.headers["if-range"];
  // RFC 9110 section 14.2: a range is defined for GET only.
  const asked = request.method === "GET" ? request.headers.range : undefined;
  const wanted = ifRange === undefined || ifRange === etag ? asked : undefined;
  const range = parseRange(wanted, answer.length);
  if (!range.ok) return sendProblem(reply.header("content-range", `bytes */${answer.length}`), range.error);
  const { from, to } = range.value ?? { from: 0, to: answer.length - 1 };
  reply.header("content-type", answer.contentType).header("content-length", String(to - from + 1));
  if (range.value) reply.code(206).header("content-range", `bytes ${from}-${to}/${answer.length}`);
  if (request.method === "HEAD") return reply.send(Readable.from([]));
  return reply.send(to < from ? "" : answer.open(from, to));
}

function safe(fileName: string): string {
  return fileName.replaceAll(/[^A-Za-z0-9._-]/g, "_");
}
