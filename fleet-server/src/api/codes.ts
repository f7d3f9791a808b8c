import type { ErrorCode } from "@bellwether/protocol/errors.ts";
import { isRawBody, type Route } from "./route.ts";

/** What an Idempotency-Key may be: printable ASCII without spaces. */
export const IDEMPOTENCY_KEY = /^[\x21-\x7e]{1,128}$/;

/** Whether a route's answer can be kept for a repetition: of a known caller, over a body that was read whole. */
function takesIdempotencyKey({ method, audited, access, body }: Route): boolean {
  return method === "POST" && audited && !access.includes("public") && !(body && isRawBody(body));
}

/** Every code a route can answer with: its own, and those of the steps before its handler. */
export function answerableCodes(route: Route): ErrorCode[] {
  const codes = new Set<ErrorCode>(["BAD_REQUEST", "INTERNAL", "METHOD_NOT_ALLOWED", "RATE_LIMITED", "UNAVAILABLE"]);
  if (!route.access.includes("public")) codes.add("UNAUTHENTICATED").add("FORBIDDEN");
  if (Object.keys(route.params.properties).length > 0) codes.add("INVALID_PATH");
  codes.add("INVALID_QUERY");
  if ("cursor" in route.query.properties) codes.add("INVALID_CURSOR");
  codes.add("TOO_LARGE");
  if (route.method !== "GET") codes.add("UNSUPPORTED_MEDIA_TYPE");
  if (route.body) {
    if (!isRawBody(route.body)) codes.add("INVALID_JSON").add("INVALID_SHAPE");
  }
  if (route.answer === "artifact") codes.add("RANGE_NOT_SATISFIABLE");
  if (route.method === "POST" && route.audited) codes.add("INVALID_HEADER");
  if (takesIdempotencyKey(route)) {
    codes.add("IDEMPOTENCY_KEY_REUSED").add("IDEMPOTENCY_IN_PROGRESS").add("IDEMPOTENCY_UNKNOWN");
  }
  for (const code of route.errors) codes.add(code);
  return [...codes].toSorted();
}
