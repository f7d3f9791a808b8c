import { ERRORS } from "@bellwether/protocol/errors.ts";
import { err } from "@bellwether/protocol/result.ts";
import fc from "fast-check";
import { Compile } from "typebox/compile";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type TestApi, testApi } from "../../../test/kit/api.ts";
import { hostileRequests } from "../../../test/kit/hostile.ts";
import { ROLES } from "./caller.ts";
import { answerableCodes } from "./codes.ts";
import { parseQuery } from "./query.ts";
import { type Context, isRawBody } from "./route.ts";
import { declaredRoutes } from "./routes.ts";

// Behind every route stands only a recorder: what reaches it has passed all checks, and a second, independent
// implementation of JSON Schema (TypeBox's own, beside the Ajv that judges requests) must agree that it fits.
const reached: { readonly operation: string; readonly context: Context<unknown, unknown, unknown> }[] = [];
const routes = declaredRoutes("0").map((route) => ({
  ...route,
  errors: [...route.errors, "NOT_FOUND" as const],
  handler: async (context: Context<unknown, unknown, unknown>) => {
    reached.push({ operation: route.operation, context });
    return err("NOT_FOUND", { what: "thing", name: "x" });
  },
}));
const tokens = [...ROLES, "device:d1@site-a", "viewer@site-a"];

let api: TestApi;
beforeAll(async () => {
  api = await testApi(routes);
});
afterAll(() => api.close());

const fitting = new Map(
  routes.map(({ operation, params, query, body, access }) => {
    const fits = {
      params: Compile(params),
      query: Compile(query),
      body: body && !isRawBody(body) ? Compile(body) : undefined,
    };
    return [operation as string, { ...fits, access }];
  }),
);

describe("no request makes any route fail inside, and none that is wrong reaches its handler", () => {
  it.each(routes.map((route) => [route.operation, route] as const))("%s", async (_operation, route) => {
    await fc.assert(
      fc.asyncProperty(hostileRequests(route, tokens), async (request) => {
        reached.length = 0;
        const answer = await api.app.inject(request);
        const [{ operation, context } = {}] = reached;
        // A path with ".." may lead to another route: what counts is the one it came to.
        const fits = fitting.get(operation ?? "");
        if (context && fits) {
          expect(fits.params.Check(context.params)).toBe(true);
          expect(fits.query.Check(context.query)).toBe(true);
          if (fits.body) expect(fits.body.Check(context.body)).toBe(true);
          const { caller } = context;
          const role = caller.kind === "token" ? (caller.roles[0] ?? "none") : caller.kind;
          const enough = ["public", role, ...(caller.kind === "token" ? ["viewer"] : [])];
          if (role !== "admin") expect(fits.access.some((one) => enough.includes(one))).toBe(true);
          else expect(fits.access).not.toEqual(["device"]);
        }
        const code: keyof typeof ERRORS = answer.json().code;
        expect(answer.statusCode).toBe(ERRORS[code].http);
        expect(answer.statusCode).toBeLessThan(500);
        // A path with other members may be another route, or none.
        const elsewhere =
          new URL(String(request.url), "http://x").pathname.split("/").length !== route.path.split("/").length;
        if (!elsewhere && code !== "ROUTE_NOT_FOUND") expect([...answerableCodes(route), "NOT_FOUND"]).toContain(code);
      }),
      { numRuns: 150 },
    );
  });
});

/** Paths of whole numbers (times, counts, spans) without a greatest one, in a schema that judges what comes from outside. */
function unbounded(schema: unknown, at: string): string[] {
  if (typeof schema !== "object" || schema === null) return [];
  const { type, maximum } = schema as Record<string, unknown>;
  const free = type === "integer" && maximum === undefined;
  return [
    ...(free ? [at] : []),
    ...Object.entries(schema).flatMap(([name, member]) => unbounded(member, `${at}/${name}`)),
  ];
}

describe("what a request may hold", () => {
  // A time beyond what a date can name broke the code that wrote it down, long after it was taken.
  it("has a greatest whole number everywhere", () => {
    const found = routes.flatMap(({ operation, params, query, body }) => [
      ...unbounded(params, `${operation} path`),
      ...unbounded(query, `${operation} query`),
      ...(body && !isRawBody(body) ? unbounded(body, `${operation} body`) : []),
    ]);
    expect(found).toEqual([]);
  });
});

describe("the query parser", () => {
  it("answers every text with values or a reason, and reads back what was written", () => {
    const properties = routes.find(({ operation }) => operation === "listAuditEntries")!.query.properties;
    fc.assert(
      fc.property(fc.string(), (text) => {
        const parsed = parseQuery(text, properties);
        if (!parsed.ok) expect(parsed.error.code).toBe("INVALID_QUERY");
      }),
    );
    fc.assert(
      fc.property(fc.string(), fc.maxSafeInteger(), (caller, sinceMs) => {
        const text = new URLSearchParams({
          caller: caller.toWellFormed(),
          sinceMs: String(sinceMs === 0 ? 0 : sinceMs),
        });
        expect(parseQuery(text.toString(), properties)).toEqual({
          ok: true,
          value: { caller: caller.toWellFormed(), sinceMs: sinceMs === 0 ? 0 : sinceMs },
        });
      }),
    );
  });
});
