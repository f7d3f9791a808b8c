import type { Readable } from "node:stream";
import type { ErrorCode } from "@bellwether/protocol/errors.ts";
import type { Result } from "@bellwether/protocol/result.ts";
import { type Validator, validator } from "@bellwether/protocol/schema.ts";
import { type Static, type TObject, type TProperties, type TSchema, Type } from "typebox";
import type { Access, Caller } from "./caller.ts";

export type Method = "GET" | "POST" | "PUT" | "PATCH" | "DELETE";

/** An answer of any length and type: NDJSON, CSV, server-sent events. The connection's end is its end. */
export interface StreamAnswer {
  readonly contentType: string;
  readonly body: AsyncIterable<string | Uint8Array> | Iterable<string | Uint8Array>;
  /** Offered as the file name of a download. */
  readonly fileName?: string;
}

/** An immutable file: answered with its ETag, `If-None-Match` and one byte range (RFC 9110 section 14). */
export interface ArtifactAnswer {
  readonly contentType: string;
  /** Its strong entity tag without quotes: the digest. */
  readonly etag: string;
  /** Whole length in bytes. */
  readonly length: number;
  /** Opens the bytes from `from` up to and including `to`. */
  open(from: number, to: number): Readable;
  /** False where the content may change under the same URL (metadata); true lets clients keep it for ever. */
  readonly immutable?: boolean;
}

/** A JSON answer that was written already, in a thread beside the store; it fits the answer's schema like any other. */
export class WrittenJson {
  readonly text: string;
  constructor(text: string) {
    this.text = text;
  }
}

/** What a handler may know about the request, and the few things it may set on the answer. */
export interface RequestFacts {
  /** Request id: also in the answer's `x-request-id`, in the log and in the audit entry. */
  readonly id: string;
  /** Peer address. */
  readonly ip: string;
  /** Header by lower-case name. */
  header(name: string): string | undefined;
  /** Aborted when the client goes away. */
  readonly signal: AbortSignal;
  /** When the request arrived, milliseconds since 1970 UTC. */
  readonly nowMs: number;
}
export interface ReplyHeaders {
  header(name: string, value: string): void;
}

export interface Context<P, Q, B> {
  readonly params: P;
  readonly query: Q;
  readonly body: B;
  readonly caller: Caller;
  readonly request: RequestFacts;
  readonly reply: ReplyHeaders;
}

/** A raw body: its type, and its bytes as they arrive, cut off with `TOO_LARGE` above the route's `bodyBytesMax`. */
export interface RawBody {
  readonly contentType: string;
  readonly bytes: AsyncIterable<Uint8Array>;
}
/** Declares that a route takes raw bytes of one of these content types instead of JSON. */
export interface RawBodySpec {
  readonly contentTypes: readonly string[];
}

type BodyOf<B> = B extends RawBodySpec ? RawBody : B extends TSchema ? Static<B> : undefined;
type AnswerOf<A> = A extends "none"
  ? undefined
  : A extends "stream"
    ? StreamAnswer
    : A extends "artifact"
      ? ArtifactAnswer
      : A extends TSchema
        ? Static<A> | WrittenJson
        : never;

/** A route as a room writes it; see {@link defineRoute}. */
export interface RouteSpec<P extends TProperties, Q extends TProperties, B, A> {
  readonly method: Method;
  /** Fastify path: "/v1/devices/:device". */
  readonly path: `/${string}`;
  /** OpenAPI operation id, camelCase and unique: "listDevices". */
  readonly operation: string;
  /** One sentence. */
  readonly summary: string;
  /** OpenAPI tag; by default the second segment of the path ("devices"). */
  readonly tag?: string;
  /** Who may call it; a list means any of them. */
  readonly role: Access | readonly Access[];
  /** True where it is about the whole fleet: a token that is limited to sites is refused, whatever its roles. */
  readonly wholeFleet?: boolean;
  /** Path members by name. Values are texts until the schema says integer or number. */
  readonly params?: P;
  /** Query parameters by name: string, integer, number, boolean, a union of literals, or an array (repeated). Unknown ones are refused. */
  readonly query?: Q;
  /** JSON body (close its objects with `additionalProperties: false`), or raw bytes. */
  readonly body?: B;
  /** Schema of the JSON answer, or "none" (204), "stream", "artifact". */
  readonly answer: A;
  /** Success code: by default 200, 204 for "none", 201 is for creation. */
  readonly status?: number;
  /** The codes its handler itself answers with; what every route may answer (401, 403, 413 …) is added. */
  readonly errors?: readonly ErrorCode[];
  /** Bound of the body; by default that of the server (1 MiB). */
  readonly bodyBytesMax?: number;
  /** False for a POST that changes nothing (a dry run, a nonce): it is not audited. */
  readonly audit?: boolean;
  /** Requests per minute and address; by default that of the server, and only for public routes. */
  readonly ratePerMinute?: number;
  handler(context: Context<Static<TObject<P>>, Static<TObject<Q>>, BodyOf<B>>): Promise<Result<AnswerOf<A>>>;
}

/** A route as the server registers it, its schemas compiled. */
export interface Route {
  readonly method: Method;
  readonly path: string;
  readonly operation: string;
  readonly summary: string;
  readonly tag: string;
  readonly access: readonly Access[];
  readonly wholeFleet: boolean;
  readonly params: TObject;
  readonly query: TObject;
  readonly body: TSchema | RawBodySpec | undefined;
  readonly answer: TSchema | "none" | "stream" | "artifact";
  readonly success: number;
  readonly errors: readonly ErrorCode[];
  readonly bodyBytesMax: number | undefined;
  readonly audited: boolean;
  readonly ratePerMinute: number | undefined;
  readonly validators: {
    readonly params: Validator<unknown>;
    readonly query: Validator<unknown>;
    readonly body: Validator<unknown> | undefined;
    readonly answer: Validator<unknown> | undefined;
  };
  handler(context: Context<unknown, unknown, unknown>): Promise<Result<unknown>>;
}

const CLOSED = { additionalProperties: false } as const;

/**
 * Declares a route with typed params, query, body and answer:
 * ```ts
 * defineRoute({ method: "GET", path: "/v1/devices/:device", operation: "showDevice", summary: "One device.",
 *   role: "viewer", params: { device: Name }, answer: Device, errors: ["NOT_FOUND"],
 *   handler: async ({ params, caller }) => deps.devices.show(params.device) });
 * ```
 * Throws where the declaration contradicts itself; that is a broken invariant, found at start-up.
 */
export function defineRoute<
  A extends TSchema | "none" | "stream" | "artifact",
  P extends TProperties = Record<never, never>,
  Q extends TProperties = Record<never, never>,
  B extends TSchema | RawBodySpec | undefined = undefined,
>(spec: RouteSpec<P, Q, B, A>): Route {
  const named = [...spec.path.matchAll(/:(\w+)|(\*)/g)].map((match) => match[1] ?? "*");
  const declared = Object.keys(spec.params ?? {});
  if (named.toSorted().join() !== declared.toSorted().join())
    throw new Error(`${spec.operation}: the path names "${named.join()}", params declare "${declared.join()}"`);
  const body: TSchema | RawBodySpec | undefined = spec.body;
  if (body && (spec.method === "GET" || spec.method === "DELETE"))
    throw new Error(`${spec.operation}: a ${spec.method} takes no body`);
  const params = Type.Object(spec.params ?? {}, CLOSED);
  const query = Type.Object(spec.query ?? {}, CLOSED);
  const answer: TSchema | string = spec.answer;
  return {
    method: spec.method,
    path: spec.path,
    operation: spec.operation,
    summary: spec.summary,
    tag: spec.tag ?? spec.path.split("/")[2] ?? "server",
    access: typeof spec.role === "string" ? [spec.role] : spec.role,
    wholeFleet: spec.wholeFleet ?? false,
    params,
    query,
    body,
    answer: spec.answer,
    success: spec.status ?? (spec.answer === "none" ? 204 : 200),
    errors: spec.errors ?? [],
    bodyBytesMax: spec.bodyBytesMax,
    audited: spec.audit ?? spec.method !== "GET",
    ratePerMinute: spec.ratePerMinute,
    validators: {
      params: validator("The path", params),
      query: validator("The query", query),
      body: body && !isRawBody(body) ? validator("The body", body) : undefined,
      answer: typeof answer === "string" ? undefined : validator(`The answer of ${spec.operation}`, answer),
    },
    handler: spec.handler as Route["handler"],
  };
}

/** Whether a route's body is raw bytes. */
export function isRawBody(body: TSchema | RawBodySpec): body is RawBodySpec {
  return "contentTypes" in body;
}

/** Who may call a route, in words: "operator or releaser", "admin of all sites". */
export function roleNeeded({ access, wholeFleet }: Route): string {
  return `${access.join(" or ")}${wholeFleet ? " of all sites" : ""}`;
}
