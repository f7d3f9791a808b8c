import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { cli } from "../../../test/kit/cli.ts";
import { memoryRoom } from "../../../test/kit/room.ts";
import { listeningApi } from "../../../test/kit/server.ts";
import { auditRoutes } from "../api/audit.ts";
import { tokenRoutes } from "../api/tokens.ts";
import { createTokens } from "../governance/governance.io.ts";
import type { GovernanceStore } from "../store/governance.ts";
import { governanceCommands, governanceMigrations } from "../store/sqlite/governance.ts";

let server: Awaited<ReturnType<typeof listeningApi>>;
let env: Record<string, string>;
beforeAll(async () => {
  const governance = memoryRoom<GovernanceStore>(governanceCommands, governanceMigrations);
  const deps = { store: { governance }, tokens: createTokens(governance) };
  server = await listeningApi(governance, [...tokenRoutes(deps), ...auditRoutes(deps)]);
  env = { BELLWETHER_URL: server.url, BELLWETHER_TOKEN: server.admin };
});
afterAll(() => server.close());

describe("bellwether tokens", () => {
  it("makes, lists and revokes", async () => {
    const made = await cli(["tokens", "create", "screen", "--role", "viewer", "--site", "a", "--ttl", "90d"], env);
    expect(made.exitCode).toBe(0);
    expect(made.stdout).toMatch(/^bwt_[\w-]{43}\n$/);
    const [screen] = JSON.parse((await cli(["tokens", "list", "-o", "json"], env)).stdout).filter(
      (token: { name: string }) => token.name === "screen",
    );
    expect(screen).toMatchObject({ roles: ["viewer"], sites: ["a"] });
    expect(screen.expiresAtMs - screen.createdAtMs).toBe(90 * 86_400_000);
    const table = (await cli(["tokens", "list"], env)).stdout;
    expect(table.split("\n")[0]).toMatch(/^ID +NAME +ROLES +SITES +STANDING +EXPIRES +LAST USED$/);
    expect((await cli(["tokens", "revoke", screen.id], env)).exitCode).toBe(0);
    expect((await cli(["tokens", "list"], env)).stdout).not.toContain("screen");
    expect((await cli(["tokens", "list", "--all"], env)).stdout).toContain("revoked");
  });

  it.each([
    [["tokens", "create", "x"], 2, "--role"],
    [["tokens", "create", "x", "--role", "king"], 2, "one of viewer"],
    [["tokens", "create", "x", "--role", "viewer", "--ttl", "soon"], 2, "90d"],
    [["tokens", "create", "a b", "--role", "viewer"], 1, "INVALID_SHAPE"],
    [["tokens", "revoke", "t-none"], 1, "NOT_FOUND"],
    [["tokens", "revoke", "../audit"], 1, "INVALID_PATH"],
  ])("%j exits %i", async (args, exitCode, words) => {
    const run = await cli(args, env);
    expect([run.exitCode, run.stderr]).toEqual([exitCode, expect.stringContaining(words)]);
  });
});

describe("bellwether audit", () => {
  it("lists and verifies, and goes on from an earlier head", async () => {
    await cli(["tokens", "create", "one", "--role", "viewer"], env);
    const first = JSON.parse((await cli(["audit", "verify", "-o", "json"], env)).stdout);
    expect(first).toMatchObject({ whole: true, head: expect.stringMatching(/^\d+:sha256:/) });
    await cli(["tokens", "create", "two", "--role", "viewer"], env);
    const second = JSON.parse((await cli(["audit", "verify", "--from", first.head, "-o", "json"], env)).stdout);
    expect(second.entries).toBe(1);
    const listed = JSON.parse(
      (await cli(["audit", "list", "--operation", "createToken", "--since", "2026-01-01", "-o", "json"], env)).stdout,
    );
    expect(listed.at(-1)).toMatchObject({ caller: expect.stringContaining(":root"), http: 201 });
  });

  it("notices that the log was cut off or rewritten", async () => {
    const [seq, digest] = JSON.parse((await cli(["audit", "verify", "-o", "json"], env)).stdout).head.split(/:(.*)/);
    const longer = await cli(["audit", "verify", "--from", `${Number(seq) + 1}:${digest}`], env);
    expect([longer.exitCode, longer.stderr]).toEqual([1, expect.stringContaining("AUDIT_CHAIN_BROKEN")]);
    const other = `${Number(seq) - 1}:sha256:${"0".repeat(64)}`;
    const rewritten = await cli(["audit", "verify", "--from", other], env);
    expect([rewritten.exitCode, rewritten.stderr]).toEqual([1, expect.stringContaining("AUDIT_CHAIN_BROKEN")]);
  });
});
