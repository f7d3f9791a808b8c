import { once } from "node:events";
import { type AddressInfo, connect } from "node:net";
import { Readable } from "node:stream";
import { Name } from "@bellwether/protocol/ids.ts";
import { err, ok } from "@bellwether/protocol/result.ts";
import { Type } from "typebox";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type TestApi, testApi } from "../../../test/kit/api.ts";
import { StoreBusy } from "../store/store.ts";
import { defineRoute } from "./route.ts";
import { declaredRoutes } from "./routes.ts";
import { serverRoutes } from "./server.ts";

const closed = { additionalProperties: false } as const;
const FILE = Buffer.from("0123456789");
let threshold: unknown = "untouched";

const routes = [
  ...serverRoutes({ version: "1.2.3", ready: async () => err("UNAVAILABLE", { reason: "the broker is not up" }) }),
  defineRoute({
    method: "GET",
    path: "/v1/pumps/:pump",
    operation: "showPump",
    summary: "One pump.",
    role: ["viewer", "device"],
    params: { pump: Name },
    query: {
      limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 10 })),
      deep: Type.Optional(Type.Boolean()),
      tag: Type.Optional(Type.Array(Type.String())),
    },
    answer: Type.Object({ pump: Type.String(), query: Type.Unknown() }, closed),
    errors: ["NOT_FOUND"],
    handler: async ({ params, query }) =>
      params.pump === "none" ? err("NOT_FOUND", { what: "pump", name: "none" }) : ok({ pump: params.pump, query }),
  }),
  defineRoute({
    method: "POST",
    path: "/v1/pumps/:pump/threshold",
    operation: "setThreshold",
    summary: "Sets the threshold.",
    role: "operator",
    params: { pump: Name },
    body: Type.Object({ threshold: Type.Number() }, closed),
    answer: "none",
    bodyBytesMax: 1000,
    handler: async ({ body, params }) => {
      if (params.pump === "busy") throw new StoreBusy("the store has too much to do");
      if (params.pump === "broken") throw new Error("secret inner text");
      threshold = body.threshold;
      return ok(undefined);
    },
  }),
  defineRoute({
    method: "PUT",
    path: "/v1/pumps/:pump/file",
    operation: "putFile",
    summary: "Takes raw bytes.",
    role: "releaser",
    params: { pump: Name },
    body: { contentTypes: ["application/octet-stream"] },
    bodyBytesMax: 100,
    answer: Type.Object({ length: Type.Integer() }, closed),
    status: 201,
    handler: async ({ body }) => {
      let length = 0;
      for await (const chunk of body.bytes) length += chunk.byteLength;
      return ok({ length });
    },
  }),
  defineRoute({
    method: "GET",
    path: "/v1/pumps/:pump/file",
    operation: "getFile",
    summary: "Gives a file.",
    role: ["device", "viewer"],
    params: { pump: Name },
    answer: "artifact",
    handler: async () =>
      ok({
        contentType: "application/octet-stream",
        etag: "sha256:abc",
        length: FILE.length,
        open: (from: number, to: number) => Readable.from([FILE.subarray(from, to + 1)]),
      }),
  }),
  defineRoute({
    method: "GET",
    path: "/v1/lines",
    operation: "lines",
    summary: "A stream.",
    role: "viewer",
    answer: "stream",
    handler: async () => ok({ contentType: "application/x-ndjson", body: ["1\n", "2\n"], fileName: "a b.ndjson" }),
  }),
];

const endless = defineRoute({
  method: "GET",
  path: "/v1/endless",
  operation: "endless",
  summary: "Never ends.",
  role: "viewer",
  answer: "stream",
  handler: async () =>
    ok({
      contentType: "text/plain",
      body: (async function* () {
        yield "tick\n";
        await new Promise(() => {});
      })(),
    }),
});
const { promise: slowStarted, resolve: startSlow } = Promise.withResolvers<void>();
const { promise: slowFinished, resolve: finishSlow } = Promise.withResolvers<void>();
const slow = defineRoute({
  method: "GET",
  path: "/v1/slow",
  operation: "slow",
  summary: "Takes its time.",
  role: "viewer",
  answer: "none",
  handler: async () => {
    startSlow();
    await slowFinished;
    return ok(undefined);
  },
});

let api: TestApi;
beforeAll(async () => {
  api = await testApi(routes);
});
afterAll(() => api.close());

describe("who may call", () => {
  const cases: [string | undefined, string, number, string][] = [
    [undefined, "GET /v1/pumps/p1", 401, "UNAUTHENTICATED"],
    ["stranger", "GET /v1/pumps/p1", 401, "UNAUTHENTICATED"],
    ["viewer", "POST /v1/pumps/p1/threshold", 403, "FORBIDDEN"],
    ["viewer", "POST /v1/pumps/none/threshold", 403, "FORBIDDEN"],
    ["device:p1@a", "GET /v1/lines", 403, "FORBIDDEN"],
    ["viewer", "GET /v1/nothing", 404, "ROUTE_NOT_FOUND"],
    ["viewer", "DELETE /v1/pumps/p1", 405, "METHOD_NOT_ALLOWED"],
    ["viewer", "GET /v1/pumps/none", 404, "NOT_FOUND"],
    ["viewer", "GET /v1/pumps/%FF", 400, "BAD_REQUEST"],
    ["viewer", "GET /v1/pumps/..%2Fx", 400, "INVALID_PATH"],
    [undefined, "GET /readyz", 503, "UNAVAILABLE"],
  ];
  it.each(cases)("%s %s -> %i %s", async (token, target, http, code) => {
    const answer = await api.call(token, target);
    expect(answer.http).toBe(http);
    expect(answer.headers["content-type"]).toMatch(/^application\/problem\+json/);
    expect(answer.body).toMatchObject({ status: http, code, instance: answer.headers["x-request-id"] });
  });

  it("says the same about what exists and what does not to a caller without the role", async () => {
    const [a, b] = [
      await api.call("viewer", "POST /v1/pumps/p1/threshold"),
      await api.call("viewer", "POST /v1/pumps/none/threshold"),
    ];
    expect({ ...a.body, instance: "" }).toEqual({ ...b.body, instance: "" });
  });

  it("lets each of several accesses in, and admin everywhere", async () => {
    for (const token of ["viewer", "device:p1@a", "admin"])
      expect((await api.call(token, "GET /v1/pumps/p1")).http).toBe(200);
    expect((await api.call("admin", "POST /v1/pumps/p1/threshold", { threshold: 1 })).http).toBe(204);
  });

  it("names the methods a route answers", async () => {
    const answer = await api.call("viewer", "DELETE /v1/pumps/p1");
    expect(answer.headers["allow"]).toBe("GET, HEAD");
  });
});

describe("input is judged as it was sent", () => {
  it.each([
    ["?limit=3&deep=true&tag=a&tag=b", { limit: 3, deep: true, tag: ["a", "b"] }],
    ["?tag=%C3%A9+x", { tag: ["é x"] }],
    ["", {}],
  ])("reads the query %s", async (query, expected) => {
    expect((await api.call("viewer", `GET /v1/pumps/p1${query}`)).body.query).toEqual(expected);
  });

  it.each([
    "?limit=",
    "?limit=1.0",
    "?limit=0x3",
    "?limit=11",
    "?limit=1&limit=1",
    "?deep=1",
    "?lmit=1",
    "?tag=%ff",
    "?__proto__=1",
  ])("refuses the query %s", async (query) => {
    expect(await api.call("viewer", `GET /v1/pumps/p1${query}`)).toMatchObject({
      http: 400,
      body: { code: "INVALID_QUERY" },
    });
  });

  it.each([
    ['{"threshold":null}', "INVALID_SHAPE"],
    ['{"threshold":true}', "INVALID_SHAPE"],
    ['{"threshold":"1"}', "INVALID_SHAPE"],
    ['{"treshold":1}', "INVALID_SHAPE"],
    ['{"threshold":1,"extra":1}', "INVALID_SHAPE"],
    ['{"threshold":1,"__proto__":{}}', "INVALID_JSON"],
    ['{"threshold":1', "INVALID_JSON"],
    ["", "INVALID_JSON"],
    [Buffer.from([0x22, 0xff, 0x22]), "INVALID_JSON"],
    [`${"[".repeat(400)}${"]".repeat(400)}`, "INVALID_JSON"],
  ])("refuses the body %s", async (payload, code) => {
    threshold = "untouched";
    const answer = await api.app.inject({
      method: "POST",
      url: "/v1/pumps/p1/threshold",
      headers: { authorization: "Bearer operator", "content-type": "application/json" },
      payload,
    });
    expect([answer.statusCode, answer.json().code]).toEqual([400, code]);
    expect(threshold).toBe("untouched");
  });

  it("answers 413 over a route's limit and 415 to another type", async () => {
    const send = (type: string, payload: string) =>
      api.app.inject({
        method: "POST",
        url: "/v1/pumps/p1/threshold",
        headers: { authorization: "Bearer operator", "content-type": type },
        payload,
      });
    expect((await send("application/json", `{"threshold":${"1".repeat(2000)}}`)).statusCode).toBe(413);
    expect((await send("text/csv", "1")).statusCode).toBe(415);
    expect((await send(";;", "1")).statusCode).toBe(415);
  });

  it("bounds raw bytes too", async () => {
    const send = (length: number) =>
      api.app.inject({
        method: "PUT",
        url: "/v1/pumps/p1/file",
        headers: { authorization: "Bearer releaser", "content-type": "application/octet-stream" },
        payload: Readable.from([Buffer.alloc(length)]),
      });
    expect([(await send(100)).statusCode, (await send(101)).statusCode]).toEqual([201, 413]);
  });
});

describe("answers", () => {
  it("keeps what a handler threw to the log", async () => {
    const answer = await api.call("operator", "POST /v1/pumps/broken/threshold", { threshold: 1 });
    expect([answer.http, answer.body.code]).toEqual([500, "INTERNAL"]);
    expect(JSON.stringify(answer.body)).not.toContain("secret inner text");
  });

  it("says that the store has too much to do", async () => {
    const answer = await api.call("operator", "POST /v1/pumps/busy/threshold", { threshold: 1 });
    expect([answer.http, answer.body.code]).toEqual([503, "UNAVAILABLE"]);
  });

  it("takes a client's request id when it is a plain one", async () => {
    const ask = async (id: string) =>
      (await api.app.inject({ url: "/healthz", headers: { "x-request-id": id } })).headers["x-request-id"];
    expect(await ask("abc-1")).toBe("abc-1");
    expect(await ask("a b\u0007")).not.toContain(" ");
  });

  it("spares a client what it has already", async () => {
    const headers = { authorization: "Bearer viewer" };
    const first = await api.app.inject({ url: "/v1/pumps/p1", headers });
    const etag = String(first.headers.etag);
    const again = await api.app.inject({ url: "/v1/pumps/p1", headers: { ...headers, "if-none-match": etag } });
    expect([again.statusCode, again.body]).toEqual([304, ""]);
  });

  it.each([
    [{}, 200, "0123456789", undefined],
    [{ range: "bytes=2-4" }, 206, "234", "bytes 2-4/10"],
    [{ range: "bytes=7-" }, 206, "789", "bytes 7-9/10"],
    [{ range: "bytes=-3" }, 206, "789", "bytes 7-9/10"],
    [{ range: "bytes=7-99" }, 206, "789", "bytes 7-9/10"],
    [{ range: "bytes=4-2" }, 200, "0123456789", undefined],
    [{ range: "lines=1-2" }, 200, "0123456789", undefined],
    [{ range: "bytes=2-4", "if-range": '"other"' }, 200, "0123456789", undefined],
    [{ "if-none-match": '"sha256:abc"' }, 304, "", undefined],
  ])("answers an artifact asked with %j", async (headers, http, body, contentRange) => {
    const answer = await api.app.inject({
      url: "/v1/pumps/p1/file",
      headers: { authorization: "Bearer device:p1@a", ...headers },
    });
    expect([answer.statusCode, answer.body, answer.headers["content-range"]]).toEqual([http, body, contentRange]);
  });

  it("answers a HEAD for a range with the whole's headers: a range is for GET only", async () => {
    const headers = { authorization: "Bearer viewer", range: "bytes=2-4" };
    const answer = await api.app.inject({ method: "HEAD", url: "/v1/pumps/p1/file", headers });
    expect([answer.statusCode, answer.headers["content-length"], answer.body]).toEqual([200, "10", ""]);
  });

  it("answers 416 beyond the end", async () => {
    const headers = { authorization: "Bearer viewer", range: "bytes=10-" };
    const answer = await api.app.inject({ url: "/v1/pumps/p1/file", headers });
    expect([answer.statusCode, answer.headers["content-range"]]).toEqual([416, "bytes */10"]);
  });

  it("answers HEAD with the headers of the whole and no body", async () => {
    const headers = { authorization: "Bearer viewer" };
    const answer = await api.app.inject({ method: "HEAD", url: "/v1/pumps/p1/file", headers });
    expect([answer.statusCode, answer.headers["content-length"], answer.body]).toEqual([200, "10", ""]);
  });

  it("ends endless streams and finishes short requests when the server closes", async () => {
    const other = await testApi([endless, slow]);
    await other.app.listen({ host: "127.0.0.1", port: 0 });
    const base = `http://127.0.0.1:${(other.app.server.address() as AddressInfo).port}`;
    const headers = { authorization: "Bearer viewer" };
    const stream = await fetch(`${base}/v1/endless`, { headers });
    const reader = stream.body!.getReader();
    expect(Buffer.from((await reader.read()).value!).toString()).toBe("tick\n");
    const short = fetch(`${base}/v1/slow`, { headers });
    await slowStarted;
    const closed = other.close();
    finishSlow();
    expect((await short).status).toBe(204);
    await expect(reader.read()).rejects.toThrow();
    await closed;
  });

  it("answers what comes while the server closes with a problem, on a connection that is at work", async () => {
    const { promise: begun, resolve: begin } = Promise.withResolvers<void>();
    const { promise: over, resolve: end } = Promise.withResolvers<void>();
    const handler = async () => {
      begin();
      await over;
      return ok(undefined);
    };
    const other = await testApi([{ ...slow, handler }, ...routes]);
    await other.app.listen({ host: "127.0.0.1", port: 0 });
    const socket = connect((other.app.server.address() as AddressInfo).port, "127.0.0.1");
    const get = (path: string) =>
      socket.write(`GET ${path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer viewer\r\n\r\n`);
    get("/v1/slow");
    await begun;
    const closed = other.close();
    const arrived = once(other.app.server, "request");
    get("/v1/pumps/p1");
    await arrived;
    end();
    const [first, second] = Buffer.concat(await socket.toArray())
      .toString()
      .split("HTTP/1.1 ")
      .slice(1);
    expect(first).toMatch(/^204/);
    expect(second).toMatch(/^503.*application\/problem\+json.*"code":"UNAVAILABLE"/s);
    await closed;
  });

  it("streams under a safe file name", async () => {
    const answer = await api.call("viewer", "GET /v1/lines");
    expect([answer.body, answer.headers["content-disposition"]]).toEqual([
      "1\n2\n",
      'attachment; filename="a_b.ndjson"',
    ]);
  });
});

describe("what never becomes a request", () => {
  const ask = async (text: string) => {
    const other = await testApi(routes);
    await other.app.listen({ host: "127.0.0.1", port: 0 });
    const socket = connect((other.app.server.address() as AddressInfo).port, "127.0.0.1");
    socket.write(text);
    const answer = await socket.toArray();
    await other.close();
    return Buffer.concat(answer).toString();
  };
  it.each([
    ["no HTTP", "HELO there\r\n\r\n"],
    ["two lengths", "GET / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n"],
    ["a header too long", `GET / HTTP/1.1\r\nhost: x\r\nx: ${"a".repeat(20_000)}\r\n\r\n`],
  ])("is answered with a problem too: %s", async (_what, text) => {
    const answer = await ask(text);
    expect(answer).toContain("HTTP/1.1 400 ");
    expect(answer).toContain('"code":"BAD_REQUEST"');
  });
});

describe("the audit log", () => {
  it("has every mutating call of a known caller with its end, and no reading", async () => {
    const audited = await testApi(routes);
    await audited.call("viewer", "GET /v1/pumps/p1");
    await audited.call("viewer", "POST /v1/pumps/p1/threshold", { threshold: 1 });
    await audited.call(undefined, "POST /v1/pumps/p1/threshold", { threshold: 1 });
    await audited.call("operator", "POST /v1/pumps/p1/threshold", { threshold: null });
    await audited.call("operator", "POST /v1/pumps/p1/threshold", { threshold: 2 });
    await audited.call("operator", "POST /v1/pumps/broken/threshold", { threshold: 2 });
    expect(audited.audit.entries.map(({ call, outcome }) => [call.operation, outcome.http, outcome.code])).toEqual([
      ["setThreshold", 403, "FORBIDDEN"],
      ["setThreshold", 400, "INVALID_SHAPE"],
      ["setThreshold", 204, "OK"],
      ["setThreshold", 500, "INTERNAL"],
    ]);
    expect(audited.audit.entries[2]?.call.bodyDigest).toMatch(/^sha256:[0-9a-f]{64}$/);
    await audited.close();
  });
});

describe("the rate limit", () => {
  it("holds strangers and guesses back, never a valid token", async () => {
    const limited = await testApi(routes, { limits: { publicBurst: 2, publicPerMinute: 60 }, clock: () => 1000 });
    const codes = [];
    for (const token of ["x", "y", "z", "viewer"]) codes.push((await limited.call(token, "GET /v1/lines")).http);
    expect(codes).toEqual([401, 401, 429, 200]);
    const answer = await limited.call(undefined, "GET /v1/version");
    expect([answer.http, answer.headers["retry-after"]]).toEqual([429, "1"]);
    await limited.close();
  });

  it("of strangers keeps neither probes, nor scrapes, nor a fleet that comes back through one proxy from being answered", async () => {
    const probed = declaredRoutes("1").filter(({ ratePerMinute }) => ratePerMinute !== undefined);
    const often = { checkLiveness: 1_000, checkReadiness: 500, scrapeMetrics: 100, makeDeviceNonce: 500 };
    expect(probed.map(({ operation }) => operation)).toEqual(expect.arrayContaining(Object.keys(often)));
    const answers = probed.map((route) => ({ ...route, handler: async () => err("UNAVAILABLE", { reason: "asked" }) }));
    const limited = await testApi([...answers, ...routes.slice(-1)], {
      limits: { publicBurst: 1, publicPerMinute: 1 },
      clock: () => 1000,
    });
    expect((await limited.call("x", "GET /v1/lines")).http).toBe(401);
    expect((await limited.call("x", "GET /v1/lines")).http).toBe(429);
    for (const [operation, times] of Object.entries(often)) {
      const route = probed.find((one) => one.operation === operation)!;
      const body = route.method === "POST" ? { device: "gw-1" } : undefined;
      for (let n = 0; n < times / 100; n++) {
        const burst = Array.from({ length: 100 }, () => limited.call(undefined, `${route.method} ${route.path}`, body));
        expect(new Set((await Promise.all(burst)).map(({ http }) => http)), operation).toEqual(new Set([503]));
      }
    }
    await limited.close();
  });
});
