import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { createConnection } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type Bellwether, startBellwether } from "../kit/bellwether.ts";
import { deviceLogin, enrol } from "../kit/device.ts";
import { eventually } from "../kit/eventually.ts";
import { CALLS, type Call } from "./table/api.ts";
import { named } from "./table/row.ts";

const dir = mkdtempSync(join(tmpdir(), "bellwether-api-"));
let server: Bellwether;
beforeAll(async () => {
  server = await startBellwether({ dir, until: "caller" });
});
afterAll(async () => {
  await server?.stop();
  rmSync(dir, { recursive: true, force: true });
});

async function tokenOf(roles: readonly string[], sites?: readonly string[]): Promise<string> {
  const name = `t-${roles.join("-")}-${Math.random().toString(36).slice(2, 8)}`;
  const made = await server.call("POST /v1/tokens", { name, roles, ...(sites ? { sites } : {}) });
  expect(made.http, JSON.stringify(made.body)).toBe(201);
  return made.body.secret;
}

/** A request whose path is sent as it stands: fetch would tidy it up first. */
function raw(method: string, path: string, headers: Record<string, string> = {}, body?: Buffer) {
  return new Promise<{ http: number; headers: Record<string, unknown>; text: string }>((done, fail) => {
    const { hostname, port } = new URL(server.url);
    const sent = request({ method, path, hostname, port, headers, agent: false }, (answer) => {
      const chunks: Buffer[] = [];
      answer.on("data", (chunk) => chunks.push(chunk));
      answer.on("error", fail);
      answer.on("end", () =>
        done({ http: answer.statusCode ?? 0, headers: answer.headers, text: Buffer.concat(chunks).toString("utf8") }),
      );
    });
    sent.on("error", fail);
    sent.end(body);
  });
}

const healthy = async () => expect((await server.call("GET /healthz", undefined, { token: null })).http).toBe(200);

let callers: Promise<Record<string, string>> | undefined;
const callersOf = async () => ({
  admin: server.admin,
  viewer: await tokenOf(["viewer"]),
  operatorOfA: await tokenOf(["operator"], ["plant-a"]),
  adminOfA: await tokenOf(["admin"], ["plant-a"]),
  device: (await deviceLogin(server, await enrol(server, "gw-mine", { site: "plant-a" }))).body.token as string,
  other: (await enrol(server, "gw-other", { site: "plant-b" })).device,
  account: (await server.call("POST /v1/subscribers", { account: "scada-b", sites: ["plant-b"] })).body.subscriber
    .account,
});

test.each(named(CALLS))("%s", async (_, { honest, bent, code }) => {
  callers ??= callersOf();
  const tokens = await callers;
  const say = ({ target, body, by = "admin", headers = {} }: Call) => {
    const token = typeof by === "object" ? by.token : by === "nobody" ? null : tokens[by]!;
    return server.call(target.replace("{mine}", "gw-mine").replace("{other}", "gw-other"), body, { token, headers });
  };
  const taken = await say(honest);
  expect([200, 201], JSON.stringify(taken.body)).toContain(taken.http);
  const refused = await say(bent);
  expect(refused.body.code).toBe(code);
  expect(refused.http).toBeGreaterThanOrEqual(400);
});

test("a body over its limit answers 413 whether its length is announced or not, and costs no memory", async () => {
  const beforeMb = server.rssMb();
  const body = Buffer.alloc(8_000_000, 0x20);
  const headers = { authorization: `Bearer ${server.admin}`, "content-type": "application/json" };
  const announced = await raw("POST", "/v1/tokens", { ...headers, "content-length": "99999999999" });
  expect([announced.http, JSON.parse(announced.text).code]).toEqual([413, "TOO_LARGE"]);
  const whole = await raw("POST", "/v1/tokens", { ...headers, "content-length": String(body.length) }, body).catch(
    (cause: NodeJS.ErrnoException) => cause.code,
  );
  if (typeof whole === "object") expect([whole.http, JSON.parse(whole.text).code]).toEqual([413, "TOO_LARGE"]);
  else expect(["EPIPE", "ECONNRESET"]).toContain(whole);
  const small = Buffer.alloc(1_048_577, 0x20);
  const over = await server.call("POST /v1/tokens", new Uint8Array(small));
  expect([over.http, over.body.code]).toEqual([413, "TOO_LARGE"]);
  const chunked = await server.call("PUT /v1/cohorts/x", new Uint8Array(small));
  expect([chunked.http, chunked.body.code]).toEqual([413, "TOO_LARGE"]);
  expect(server.rssMb() - beforeMb).toBeLessThan(60);
  await healthy();
});

test("a stranger learns nothing: the same 401 for what exists, what does not, and every kind of bad token", async () => {
  await enrol(server, "gw-real");
  const strip = ({ http, body }: { http: number; body: Record<string, unknown> }) => {
    const { requestId: _, instance: __, ...rest } = body;
    return { http, ...rest };
  };
  const tokens = [
    "nonsense",
    "bw_",
    `bwd_${"A".repeat(100)}`,
    server.admin.slice(0, -1),
    `${server.admin}x`,
    "x".repeat(600),
  ];
  const paths = ["/v1/devices/gw-real", "/v1/devices/gw-none", "/v1/tokens", "/v1/audit", "/v1/samples"];
  const answers = new Set<string>();
  for (const token of [null, ...tokens]) {
    for (const path of paths)
      answers.add(JSON.stringify(strip(await server.call(`GET ${path}`, undefined, { token }))));
  }
  expect([...answers]).toHaveLength(1);
  expect(JSON.parse([...answers][0] as string)).toMatchObject({ http: 401, code: "UNAUTHENTICATED" });
});

test("a role that is missing answers 403, the same for what exists and what does not", async () => {
  await enrol(server, "gw-victim");
  const viewer = await tokenOf(["viewer"]);
  const say = async (target: string, body?: unknown, token = viewer) => {
    const answer = await server.call(target, body, { token });
    return [answer.http, answer.body.code, answer.body.detail];
  };
  const existing = await say("POST /v1/devices/gw-victim/revoke");
  expect(existing.slice(0, 2)).toEqual([403, "FORBIDDEN"]);
  expect(await say("POST /v1/devices/gw-nobody/revoke")).toEqual(existing);
  expect((await say("POST /v1/tokens", { name: "mine", roles: ["admin"] })).slice(0, 2)).toEqual([403, "FORBIDDEN"]);
  expect((await say("POST /v1/enrolment-tokens", { site: "plant-a" })).slice(0, 2)).toEqual([403, "FORBIDDEN"]);
  // Even a body that is wrong is not judged before the role is.
  expect((await say("POST /v1/subscribers", { wrong: true })).slice(0, 2)).toEqual([403, "FORBIDDEN"]);

  const device = await deviceLogin(server, await enrol(server, "gw-token"));
  for (const target of ["GET /v1/devices", "GET /v1/samples", "GET /v1/audit", "GET /v1/tokens", "POST /v1/tokens"]) {
    const body = target.startsWith("POST") ? { name: "mine", roles: ["admin"] } : undefined;
    expect((await say(target, body, device.body.token)).slice(0, 2), target).toEqual([403, "FORBIDDEN"]);
  }
});

test("a token of one site sees and touches nothing of another", async () => {
  await enrol(server, "gw-site-a", { site: "plant-a" });
  await enrol(server, "gw-site-b", { site: "plant-b" });
  const token = await tokenOf(["operator"], ["plant-a"]);
  const devices = await server.call("GET /v1/devices?limit=500", undefined, { token });
  const sites = devices.body.items.map(({ site }: { site: string }) => site);
  expect(new Set(sites)).toEqual(new Set(["plant-a"]));
  const other = await server.call("GET /v1/devices/gw-site-b", undefined, { token });
  const none = await server.call("GET /v1/devices/gw-nobody-b", undefined, { token });
  expect([other.http, other.body.code]).toEqual([404, "NOT_FOUND"]);
  expect(other.body.detail).toBe(none.body.detail.replaceAll("gw-nobody-b", "gw-site-b"));
  const approve = await server.call("POST /v1/devices/gw-site-b/approve", undefined, { token });
  expect(approve.http).toBe(404);
  const made = await server.call("POST /v1/enrolment-tokens", { site: "plant-b" }, { token });
  expect([made.http, made.body.code]).toEqual([403, "FORBIDDEN"]);
});

test("no path leads out of the repository", async () => {
  const secret = `secret ${Math.random()}`;
  writeFileSync(join(dir, "secret.json"), secret);
  const ups = ["..", "%2e%2e", "..%2f..", "%2e%2e%2f%2e%2e", "..%5c..", "%252e%252e", "....//", ".%00."];
  const ends = ["admin.token", "server.json", "secret.json", "keys/root-1.json", "state.json", "root.json"];
  const folders = ["/v1/repository/metadata", "/v1/repository/targets", "/v1/blobs"];
  const headers = { authorization: `Bearer ${server.admin}` };
  const paths = folders.flatMap((folder) =>
    ups.flatMap((up) => ends.flatMap((end) => [`${folder}/${up}/${end}`, `${folder}/${up}%2f${end}`])),
  );
  const key = readFileSync(join(dir, "server.json"), "utf8").slice(0, 40);
  for (const path of paths) {
    const answer = await raw("GET", path, headers);
    expect([400, 404], `${path}: ${answer.http}`).toContain(answer.http);
    for (const leak of [secret, key, server.admin, "PRIVATE", "seedHex"]) expect(answer.text).not.toContain(leak);
  }
  for (const file of [
    "1.root.json%00",
    "1.root.json%0a",
    "01234567890.root.json",
    "1.ROOT.json",
    "1.root.json/",
    "C:1.root.json",
  ])
    expect([400, 404]).toContain((await raw("GET", `/v1/repository/metadata/${file}`, headers)).http);
  await healthy();
});

test("a repeated Idempotency-Key repeats the answer, not the act; another body, path or caller gets nothing of it", async () => {
  const key = { "idempotency-key": "key-0001" };
  const body = { site: "plant-a", uses: 3 };
  const first = await server.call("POST /v1/enrolment-tokens", body, { headers: key });
  const second = await server.call("POST /v1/enrolment-tokens", body, { headers: key });
  expect([first.http, second.http]).toEqual([201, 201]);
  expect(second.body).toEqual(first.body);
  expect(second.headers.get("idempotent-replayed")).toBe("true");
  const { items } = (await server.call("GET /v1/enrolment-tokens")).body;
  expect(items.filter(({ id }: { id: string }) => id === first.body.token.id)).toHaveLength(1);

  const reused = await server.call("POST /v1/enrolment-tokens", { ...body, uses: 4 }, { headers: key });
  expect([reused.http, reused.body.code]).toEqual([409, "IDEMPOTENCY_KEY_REUSED"]);
  const elsewhere = await server.call("POST /v1/subscribers", { account: "x1", sites: ["plant-a"] }, { headers: key });
  expect([elsewhere.http, elsewhere.body.code]).toEqual([409, "IDEMPOTENCY_KEY_REUSED"]);
  // The answer holds a secret: somebody else's key of the same text must not open it.
  const token = await tokenOf(["operator"]);
  const other = await server.call("POST /v1/enrolment-tokens", body, { headers: key, token });
  expect(other.http).toBe(201);
  expect(other.body.secret).not.toBe(first.body.secret);
  for (const bad of ["", "a b", "x".repeat(129)]) {
    const answer = await server.call("POST /v1/enrolment-tokens", body, { headers: { "idempotency-key": bad } });
    expect([answer.http, answer.body.code], JSON.stringify(bad)).toEqual([400, "INVALID_HEADER"]);
  }
});

test("requests with one Idempotency-Key at the same moment act once", async () => {
  const body = { account: "once", sites: ["plant-a"] };
  const headers = { "idempotency-key": "key-race" };
  const answers = await Promise.all(
    Array.from({ length: 20 }, () => server.call("POST /v1/subscribers", body, { headers })),
  );
  const made = answers.filter(({ http }) => http === 201);
  expect(made.length).toBeGreaterThanOrEqual(1);
  expect(new Set(made.map((answer) => answer.body.secret)).size).toBe(1);
  for (const answer of answers) if (answer.http !== 201) expect(answer.body.code).toBe("IDEMPOTENCY_IN_PROGRESS");
});

test("repository metadata: entity tag, conditional requests, ranges and their misuse", async () => {
  const path = "GET /v1/repository/metadata/1.root.json";
  const whole = await server.call(path);
  const etag = whole.headers.get("etag") as string;
  const bytes = Buffer.from(JSON.stringify(whole.body));
  expect(whole.http).toBe(200);
  const text = (await raw("GET", "/v1/repository/metadata/1.root.json", { authorization: `Bearer ${server.admin}` }))
    .text;
  expect(etag).toBe(`"${createHash("sha256").update(text).digest("hex")}"`);
  expect(JSON.parse(text)).toEqual(JSON.parse(bytes.toString("utf8")));

  const ask = async (headers: Record<string, string>, method = "GET") =>
    await raw(method, "/v1/repository/metadata/1.root.json", { authorization: `Bearer ${server.admin}`, ...headers });
  expect(await ask({ "if-none-match": etag })).toMatchObject({ http: 304, text: "" });
  expect((await ask({ "if-none-match": '"other"' })).http).toBe(200);
  const part = await ask({ range: "bytes=10-19" });
  expect([part.http, part.text, part.headers["content-range"]]).toEqual([
    206,
    text.slice(10, 20),
    `bytes 10-19/${text.length}`,
  ]);
  expect((await ask({ range: "bytes=-5" })).text).toBe(text.slice(-5));
  expect((await ask({ range: `bytes=${text.length - 3}-` })).text).toBe(text.slice(-3));
  expect((await ask({ range: "bytes=5-999999999999" })).text).toBe(text.slice(5));
  const beyond = await ask({ range: `bytes=${text.length}-` });
  expect([beyond.http, beyond.headers["content-range"]]).toEqual([416, `bytes */${text.length}`]);
  for (const odd of ["bytes=9-3", "bytes=a-b", "lines=1-2", "bytes=0-1,3-4", "bytes=", "bytes=-", "bytes=1e3-"])
    expect(await ask({ range: odd }), odd).toMatchObject({ http: 200, text });
  expect(await ask({ range: "bytes=0-3", "if-range": '"older"' })).toMatchObject({ http: 200, text });
  expect(await ask({}, "HEAD")).toMatchObject({ http: 200, text: "" });
  expect((await ask({}, "HEAD")).headers["content-length"]).toBe(String(Buffer.byteLength(text)));
});

test("broken HTTP is answered or cut off, and slow headers hold nobody else up", async () => {
  const { hostname, port } = new URL(server.url);
  const wrong = [
    "GET / HTTP/9.9\r\n\r\n",
    "\0\0\0\0",
    "GET /v1/devices HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    `GET / HTTP/1.1\r\nx: ${"y".repeat(100_000)}\r\n\r\n`,
    `GET /${"y".repeat(100_000)} HTTP/1.1\r\n\r\n`,
  ];
  for (const bytes of wrong) {
    const socket = createConnection(Number(port), hostname);
    const heard: string[] = [];
    socket.on("error", () => undefined).on("data", (chunk) => heard.push(String(chunk)));
    socket.write(bytes);
    await eventually("the connection is closed", () => socket.closed);
    expect(heard.join("")).toMatch(/^(HTTP\/1.1 4\d\d |$)/);
  }
  const slow = Array.from({ length: 200 }, () => {
    const socket = createConnection(Number(port), hostname).on("error", () => undefined);
    socket.write("GET /healthz HTTP/1.1\r\nx-slow: ");
    return socket;
  });
  const start = performance.now();
  await healthy();
  expect(performance.now() - start).toBeLessThan(1_000);
  for (const socket of slow) socket.destroy();
});
