import { ERRORS, httpStatusOf } from "@bellwether/protocol/errors.ts";
import { ok } from "@bellwether/protocol/result.ts";
import { type TSchema, Type } from "typebox";
import { answerableCodes, IDEMPOTENCY_KEY } from "./codes.ts";
import { PROBLEM_TYPE, ProblemBody } from "./problem.ts";
import { defineRoute, isRawBody, type Route } from "./route.ts";

type Json = { readonly [name: string]: unknown };

/** The OpenAPI 3.1 document of these routes, made of the very schemas that judge requests. */
export function openApiDocument(routes: readonly Route[], version: string): Json {
  const paths: Record<string, Record<string, Json>> = {};
  const sorted = routes.toSorted((a, b) => (a.path === b.path ? order(a) - order(b) : a.path < b.path ? -1 : 1));
  for (const route of sorted) {
    const path = openApiPath(route.path);
    paths[path] = { ...paths[path], [route.method.toLowerCase()]: operationOf(route) };
  }
  return {
    openapi: "3.1.1",
    info: {
      title: "Bellwether",
      version,
      summary: "Runs, watches and retrains predictive-maintenance models on a fleet of edge devices.",
      license: { name: "Apache-2.0", identifier: "Apache-2.0" },
    },
    servers: [{ url: "/" }],
    tags: [...new Set(sorted.map(({ tag }) => tag))].toSorted().map((name) => ({ name })),
    paths,
    components: {
      securitySchemes: {
        token: { type: "http", scheme: "bearer", description: "A token of a person or a program." },
        device: { type: "http", scheme: "bearer", description: "The short-lived token of a device's login." },
      },
      schemas: { Problem: plain(ProblemBody) },
    },
  };
}

const IDEMPOTENCY_WORDS = "A repetition with the same key and body gets the first answer again.";
const METHOD_ORDER = ["GET", "POST", "PUT", "PATCH", "DELETE"];
function order({ method }: Route): number {
  return METHOD_ORDER.indexOf(method);
}

function openApiPath(path: string): string {
  return path.replaceAll(/:(\w+)/g, "{$1}").replace("*", "{path}");
}

function operationOf(route: Route): Json {
  const people = route.access.filter((one) => one !== "device" && one !== "public");
  const security = [
    ...(people.length > 0 ? [{ token: people }] : []),
    ...(route.access.includes("device") ? [{ device: [] }] : []),
  ];
  const description = route.access.includes("public")
    ? "Public."
    : `For ${route.access.map((one) => (one === "device" ? "devices" : `the role ${one}`)).join(" and ")}${route.wholeFleet ? ", of all sites" : ""}.`;
  return {
    operationId: route.operation,
    summary: route.summary,
    description,
    tags: [route.tag],
    security: route.access.includes("public") ? [] : security,
    parameters: parametersOf(route),
    ...(route.body ? { requestBody: { required: true, content: bodyOf(route) } } : {}),
    responses: responsesOf(route),
  };
}

function parametersOf(route: Route): Json[] {
  const path = Object.entries(route.params.properties).map(([name, schema]) =>
    parameter("path", name === "*" ? "path" : name, schema, true),
  );
  const required: readonly string[] = route.query.required ?? [];
  const query = Object.entries(route.query.properties).map(([name, schema]) =>
    parameter("query", name, schema, required.includes(name)),
  );
  const header = (name: string, description: string, pattern?: string) => ({
    in: "header",
    name,
    required: false,
    description,
    schema: { type: "string", ...(pattern === undefined ? {} : { pattern }) },
  });
  const headers: Json[] = [];
  if (answerableCodes(route).includes("IDEMPOTENCY_KEY_REUSED"))
    headers.push(header("Idempotency-Key", IDEMPOTENCY_WORDS, IDEMPOTENCY_KEY.source));
  if (route.method === "GET" && route.answer !== "stream")
    headers.push(header("If-None-Match", "The ETag of what the client has already."));
  if (route.answer === "artifact") headers.push(header("Range", "One byte range."));
  return [...path, ...query, ...headers];
}

function parameter(place: "path" | "query", name: string, schema: TSchema, required: boolean): Json {
  const { description, ...rest } = plain(schema);
  return { in: place, name, required, ...(description === undefined ? {} : { description }), schema: rest };
}

function bodyOf(route: Route): Json {
  if (!route.body) return {};
  if (!isRawBody(route.body)) return { "application/json": { schema: plain(route.body) } };
  return Object.fromEntries(route.body.contentTypes.map((type) => [type, {}]));
}

function responsesOf(route: Route): Json {
  const codesBy = new Map<number, string[]>();
  for (const code of answerableCodes(route)) {
    const http = httpStatusOf(code);
    codesBy.set(http, [...(codesBy.get(http) ?? []), code]);
  }
  const problems = [...codesBy].toSorted(([a], [b]) => a - b).map(([http, codes]) => [String(http), problemOf(codes)]);
  const partial = route.answer === "artifact" ? { 206: { description: "The range asked for." } } : {};
  const unchanged = route.method === "GET" && route.answer !== "stream" ? { 304: { description: "Unchanged." } } : {};
  return { [route.success]: successOf(route), ...partial, ...unchanged, ...Object.fromEntries(problems) };
}

function successOf(route: Route): Json {
  if (route.answer === "none") return { description: "Done; no content." };
  if (route.answer === "stream") return { description: "A stream.", content: { "*/*": {} } };
  if (route.answer === "artifact")
    return { description: "The bytes, with ETag and Accept-Ranges.", content: { "application/octet-stream": {} } };
  return { description: "Done.", content: { "application/json": { schema: plain(route.answer) } } };
}

function problemOf(codes: readonly string[]): Json {
  return {
    description: codes.map((code) => `${code}: ${ERRORS[code as keyof typeof ERRORS].sentence}`).join(" "),
    content: {
      [PROBLEM_TYPE]: {
        schema: { allOf: [{ $ref: "#/components/schemas/Problem" }, { properties: { code: { enum: codes } } }] },
      },
    },
  };
}

/** A schema without what TypeBox keeps beside it. */
function plain(schema: TSchema): { readonly description?: string; readonly [name: string]: unknown } {
  return JSON.parse(JSON.stringify(schema)) as { description?: string };
}

/** These routes, and the one that serves the document of them all. */
export function withOpenApi(routes: readonly Route[], version: string): Route[] {
  let document: Json | undefined;
  const all: Route[] = [
    ...routes,
    defineRoute({
      method: "GET",
      path: "/v1/openapi.json",
      operation: "showOpenApi",
      summary: "This document.",
      tag: "server",
      role: "public",
      answer: Type.Object({ openapi: Type.String() }, { additionalProperties: true }),
      handler: async () => {
        document ??= openApiDocument(all, version);
        return ok(document as { openapi: string });
      },
    }),
  ];
  return all;
}
