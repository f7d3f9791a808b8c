import { createHash } from "node:crypto";
import type { Readable } from "node:stream";
import { err, ok, type Result } from "@bellwether/protocol/result.ts";
import { parseJsonBody } from "./json.ts";
import { isRawBody, type RawBody, type Route } from "./route.ts";

/** A request's body after reading: what the handler gets, and the digest for audit and idempotency. */
export interface ReadBody {
  readonly value: unknown;
  /** "sha256:…" of the bytes; a raw body has it only once its handler has read it to the end. */
  digest(): string | undefined;
}

const NONE: ReadBody = { value: undefined, digest: () => undefined };

/** The body went over the route's limit while its handler was reading it; the pipeline turns this into `TOO_LARGE`. */
export class BodyTooLarge extends Error {
  readonly limit: number;
  constructor(limit: number) {
    super(`the body is larger than ${limit} bytes`);
    this.limit = limit;
  }
}

/** What a request's headers say of its body. */
export interface BodyHeaders {
  readonly contentType: string | undefined;
  readonly contentLength: string | undefined;
  readonly transferEncoding: string | undefined;
}

/** Reads, bounds, parses and checks the body of a request to `route`. */
export async function readBody(
  route: Route,
  stream: Readable,
  headers: BodyHeaders,
  bytesMax: number,
): Promise<Result<ReadBody>> {
  const tooLarge = (actual: number | string) =>
    err("TOO_LARGE", { what: "The body", actual, unit: "bytes", limit: bytesMax });
  const declared = Number(headers.contentLength ?? 0);
  if (declared > bytesMax) return tooLarge(declared);
  if (!route.body) {
    // Without either header there is no body (RFC 9112 section 6.3), and nothing to wait for.
    if (headers.contentLength === undefined && headers.transferEncoding === undefined) return ok(NONE);
    const bytes = await readAll(stream, 0);
    return bytes ? ok(NONE) : err("BAD_REQUEST", { reason: "this route takes no body" });
  }
  const type = (headers.contentType ?? "").split(";")[0]!.trim().toLowerCase();
  const expected = isRawBody(route.body) ? route.body.contentTypes : ["application/json"];
  if (!expected.includes(type))
    return err("UNSUPPORTED_MEDIA_TYPE", { actual: type || "(none)", expected: expected.join(" or ") });
  if (isRawBody(route.body)) return ok(rawBody(type, stream, bytesMax));
  const bytes = await readAll(stream, bytesMax);
  if (!bytes) return tooLarge(`over ${bytesMax}`);
  const parsed = parseJsonBody(bytes);
  if (!parsed.ok) return parsed;
  const checked = route.validators.body!.check(parsed.value);
  if (!checked.ok) return checked;
  const digest = `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
  return ok({ value: checked.value, digest: () => digest });
}

/** The bytes, or undefined when there are more than `bytesMax`. */
async function readAll(stream: Readable | undefined | null, bytesMax: number): Promise<Buffer | undefined> {
  const chunks: Buffer[] = [];
  let size = 0;
  // Not destroyed on an early return: the connection must live on to carry the answer; Node discards the rest.
  for await (const chunk of stream?.iterator({ destroyOnReturn: false }) ?? []) {
    size += (chunk as Buffer).byteLength;
    if (size > bytesMax) return undefined;
    chunks.push(chunk as Buffer);
  }
  return Buffer.concat(chunks);
}

function rawBody(contentType: string, stream: Readable, bytesMax: number): ReadBody {
  const hash = createHash("sha256");
  let digest: string | undefined;
  async function* bounded(): AsyncGenerator<Uint8Array> {
    let size = 0;
    for await (const chunk of stream.iterator({ destroyOnReturn: false })) {
      size += (chunk as Buffer).byteLength;
      if (size > bytesMax) throw new BodyTooLarge(bytesMax);
      hash.update(chunk as Buffer);
      yield chunk as Buffer;
    }
    digest = `sha256:${hash.digest("hex")}`;
  }
  const value: RawBody = { contentType, bytes: bounded() };
  return { value, digest: () => digest };
}
