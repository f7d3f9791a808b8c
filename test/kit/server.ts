import type { AddressInfo } from "node:net";
import { type AppOptions, buildApp } from "../../fleet-server/src/api/app.io.ts";
import type { Route } from "../../fleet-server/src/api/route.ts";
import { createAudit, createIdempotency, createTokens } from "../../fleet-server/src/governance/governance.io.ts";
import type { GovernanceStore } from "../../fleet-server/src/store/governance.ts";

/** The REST API listening on a port of loopback, with real tokens, audit and idempotency over this store. */
export async function listeningApi(
  governance: GovernanceStore,
  routes: readonly Route[],
  options: Partial<AppOptions> = {},
): Promise<{ readonly url: string; readonly admin: string; close(): Promise<void> }> {
  const tokens = createTokens(governance);
  const made = await tokens.create({ name: "root", roles: ["admin"], createdBy: "test", nowMs: Date.now() });
  if (!made.ok) throw new Error(made.error.message);
  const app = await buildApp({
    routes,
    authenticate: tokens.authenticate,
    audit: await createAudit(governance),
    idempotency: createIdempotency(governance),
    checkAnswers: true,
    ...options,
  });
  await app.listen({ host: "127.0.0.1", port: 0 });
  const { port } = app.server.address() as AddressInfo;
  return { url: `http://127.0.0.1:${port}`, admin: made.value.secret, close: () => app.close() };
}
