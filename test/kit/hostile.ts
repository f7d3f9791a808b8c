import fc from "fast-check";
import type { InjectOptions } from "fastify";
import { isRawBody, type Route } from "../../fleet-server/src/api/route.ts";
import { bent, fitting } from "./schemas.ts";

const TEXT = fc.oneof(
  fc.string(),
  fc.string({ unit: "binary" }),
  fc.constantFrom(
    "..",
    "%00",
    "%ff",
    "a/b",
    "__proto__",
    "constructor",
    "' OR 1=1 --",
    "💥",
    "-1",
    "1e999",
    "NaN",
    "null",
  ),
);

/**
 * Requests to one route: right ones, ones with something bent, and nonsense, with any headers. `names` are things that
 * exist, to be named in paths.
 */
export function hostileRequests(
  route: Route,
  tokens: readonly string[],
  names: readonly string[] = ["x"],
): fc.Arbitrary<InjectOptions> {
  const member = (schema: object) =>
    fc.oneof(
      { arbitrary: fitting(schema).map(String), weight: 3 },
      { arbitrary: fc.constantFrom(...names), weight: 2 },
      { arbitrary: TEXT, weight: 1 },
    );
  const path = fc
    .tuple(
      ...Object.entries(route.params.properties).map(([name, schema]) =>
        member(schema).map((text) => [name, text] as const),
      ),
    )
    .map((members) =>
      members.reduce(
        (url, [name, text]) =>
          url.replace(name === "*" ? "*" : `:${name}`, () => encodeURIComponent(text.toWellFormed())),
        route.path,
      ),
    );
  const known = Object.entries(route.query.properties).map(([name, schema]) => pairOf(name, schema));
  const pair = fc.oneof(...known.map((arbitrary) => ({ arbitrary, weight: 4 })), {
    arbitrary: fc
      .tuple(TEXT, TEXT)
      .map(([a, b]) => `${encodeURIComponent(a.toWellFormed())}=${encodeURIComponent(b.toWellFormed())}`),
    weight: 1,
  });
  const query = fc.oneof(
    { arbitrary: fc.uniqueArray(pair, { maxLength: 3 }).map((pairs) => pairs.join("&")), weight: 8 },
    { arbitrary: fc.stringMatching(/^[!-~]{0,30}$/).map((text) => text.replaceAll(/[#?]/g, "")), weight: 1 },
  );
  return fc
    .record({
      path,
      query,
      body: bodies(route),
      headers: headers(),
      token: fc.constantFrom(undefined, "nobody's", ...tokens),
    })
    .map(({ path, query, body, headers, token }) => ({
      method: route.method,
      url: query === "" ? path : `${path}?${query}`,
      headers: { ...headers, ...body.headers, ...(token === undefined ? {} : { authorization: `Bearer ${token}` }) },
      ...(body.payload === undefined ? {} : { payload: body.payload }),
    }));
}

function pairOf(name: string, schema: object): fc.Arbitrary<string> {
  const { type, items } = schema as { type?: string; items?: object };
  const value = fc.oneof({ arbitrary: fitting(type === "array" ? (items ?? {}) : schema), weight: 4 }, TEXT);
  return value.map((one) => `${name}=${encodeURIComponent(String(one).toWellFormed())}`);
}

interface Body {
  readonly payload?: Buffer;
  readonly headers: Record<string, string>;
}

function bodies(route: Route): fc.Arbitrary<Body> {
  const raw = fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes));
  const type = fc.constantFrom(
    "application/json",
    "text/plain",
    "application/octet-stream",
    "text/csv",
    ";",
    "application/json;charset=x",
  );
  const nonsense = fc
    .tuple(fc.oneof(raw, fc.json().map(Buffer.from)), type)
    .map(([payload, type]) => typed(payload, type));
  if (!route.body) return fc.oneof({ arbitrary: fc.constant<Body>({ headers: {} }), weight: 6 }, nonsense);
  if (isRawBody(route.body)) {
    const right = route.body.contentTypes[0] ?? "";
    return fc.oneof({ arbitrary: raw.map((payload) => typed(payload, right)), weight: 4 }, nonsense);
  }
  const right = fitting(route.body);
  const json = (value: unknown) => typed(Buffer.from(JSON.stringify(value) ?? ""), "application/json");
  return fc.oneof(
    { arbitrary: right.map(json), weight: 4 },
    { arbitrary: right.chain(bent).map(json), weight: 4 },
    { arbitrary: nonsense, weight: 1 },
  );
}

function typed(payload: Buffer, type: string): Body {
  return { payload, headers: { "content-type": type } };
}

function headers(): fc.Arbitrary<Record<string, string>> {
  const value = fc.stringMatching(/^[!-~]{0,40}$/);
  const names = [
    "idempotency-key",
    "x-request-id",
    "range",
    "if-none-match",
    "if-range",
    "accept",
    "x-forwarded-for",
  ] as const;
  const some = fc.record(Object.fromEntries(names.map((name) => [name, value])), { requiredKeys: [] });
  return fc.oneof({ arbitrary: fc.constant({}), weight: 2 }, some) as fc.Arbitrary<Record<string, string>>;
}
