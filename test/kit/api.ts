import { ok } from "@bellwether/protocol/result.ts";
import type { FastifyInstance } from "fastify";
import { type AppOptions, buildApp } from "../../fleet-server/src/api/app.io.ts";
import { type Caller, ROLES, type Role } from "../../fleet-server/src/api/caller.ts";
import type { Route } from "../../fleet-server/src/api/route.ts";
import type { AuditedCall, AuditedOutcome, AuditSink, IdempotencySink } from "../../fleet-server/src/api/sinks.ts";

/** An audit log in memory: what was entered, in order. */
export function memoryAudit(): AuditSink & { readonly entries: { call: AuditedCall; outcome: AuditedOutcome }[] } {
  const entries: { call: AuditedCall; outcome: AuditedOutcome }[] = [];
  const begun = new Map<string, AuditedCall>();
  return {
    entries,
    begin: async (call) => {
      const intent = String(begun.size + 1);
      begun.set(intent, call);
      return intent;
    },
    end: async (intent, outcome) => void entries.push({ call: begun.get(intent)!, outcome }),
    refused: async (call, outcome) => void entries.push({ call, outcome }),
  };
}

/** Idempotency that forgets: for tests of routes, not of idempotency. */
export const noIdempotency: IdempotencySink = {
  begin: async () => ok(undefined),
  keep: async () => {},
  release: async () => {},
};

/**
 * The token of a test caller: a role ("operator"), a role limited to one site ("viewer@plant-a"), or a device
 * ("device:pump-1@plant-a").
 */
export function testCaller(token: string): Caller | undefined {
  const [name = "", site] = token.split("@");
  if (name.startsWith("device:") && site !== undefined) return { kind: "device", device: name.slice(7), site };
  if (!ROLES.includes(name as Role)) return undefined;
  const caller = { kind: "token", id: `t-${name}`, name, roles: [name as Role] } as const;
  return site === undefined ? caller : { ...caller, sites: [site] };
}

/** The REST API over some routes, answers checked against their declarations; close it at the end. */
export async function testApi(routes: readonly Route[], options: Partial<AppOptions> = {}): Promise<TestApi> {
  const audit = memoryAudit();
  const app = await buildApp({
    routes,
    authenticate: async (token) => testCaller(token),
    audit,
    idempotency: noIdempotency,
    limits: { publicPerMinute: 1e9, publicBurst: 1e9 },
    checkAnswers: true,
    ...options,
  });
  return {
    app,
    audit,
    close: () => app.close(),
    async call(token, target, body) {
      const [method = "GET", url = target] = target.split(" ");
      const answer = await app.inject({
        method: method as "GET",
        url,
        headers: token === undefined ? {} : { authorization: `Bearer ${token}` },
        ...(body === undefined ? {} : { payload: body as Record<string, unknown> }),
      });
      return {
        http: answer.statusCode,
        body: /[/+]json/.test(String(answer.headers["content-type"])) ? answer.json() : answer.body,
        headers: answer.headers,
      };
    },
  };
}

export interface TestApi {
  readonly app: FastifyInstance;
  readonly audit: ReturnType<typeof memoryAudit>;
  close(): Promise<void>;
  /** `call("operator", "POST /v1/devices/pump-1/approve", {…})`; the token as {@link testCaller} reads it. */
  call(
    token: string | undefined,
    target: string,
    body?: unknown,
  ): Promise<{
    http: number;
    // biome-ignore lint/suspicious/noExplicitAny: an answer of any shape, judged by the test
    body: any;
    headers: Record<string, unknown>;
  }>;
}
