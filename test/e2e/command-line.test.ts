import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Bellwether, startBellwether } from "../kit/bellwether.ts";
import { cli } from "../kit/cli.ts";
import { connectDevice, connectMqtt, enrol } from "../kit/device.ts";
import { eventually } from "../kit/eventually.ts";
import { suiteFolder } from "../kit/folder.ts";

let server: Bellwether;
let env: Record<string, string>;
const dir = suiteFolder("bellwether-cli-");
beforeAll(async () => {
  server = await startBellwether({ dir, until: "caller" });
  env = { BELLWETHER_URL: server.url, BELLWETHER_TOKEN_FILE: join(dir, "admin.token") };
});
afterAll(() => server.stop());

/** A command that must succeed, its output as JSON. */
async function json(...args: string[]) {
  const run = await cli([...args, "-o", "json"], env);
  expect(run).toMatchObject({ exitCode: 0 });
  return JSON.parse(run.stdout);
}
/** A command that must succeed, its output as people read it. */
async function table(...args: string[]): Promise<string> {
  const run = await cli(args, env);
  expect(run).toMatchObject({ exitCode: 0 });
  return run.stdout;
}

describe("devices and cohorts", () => {
  it("are listed, shown, labelled, approved and revoked", async () => {
    await enrol(server, "gw-1", { preapproved: false });
    expect(await json("devices", "list")).toMatchObject([{ device: "gw-1", phase: "pending", presence: "never" }]);
    expect(await json("devices", "approve", "gw-1")).toMatchObject({ phase: "active" });
    expect((await json("devices", "label", "gw-1", "line=2", "hw=orin")).labels).toEqual({ line: "2", hw: "orin" });
    expect((await json("devices", "label", "gw-1", "line-", "hw=xavier")).labels).toEqual({ hw: "xavier" });
    await enrol(server, "gw-2");
    expect(await json("devices", "list", "-l", "hw in (xavier)")).toHaveLength(1);
    expect(await json("devices", "list", "--presence", "online")).toEqual([]);
    const shown = await table("devices", "show", "gw-1");
    expect(shown).toMatch(/^device +gw-1$/m);
    expect(shown).toMatch(/^labels +hw=xavier$/m);
    expect(await json("cohorts", "set", "xaviers", "hw=xavier")).toMatchObject({ devices: 1 });
    expect(await table("cohorts", "list")).toMatch(/^xaviers +hw=xavier +1 +\d{4}-/m);
    expect((await cli(["cohorts", "delete", "xaviers"], env)).exitCode).toBe(0);
    expect(await table("cohorts", "list")).toBe("(none)\n");
    expect(await json("devices", "revoke", "gw-2")).toMatchObject({ phase: "revoked" });
  });

  it.each([
    [["devices", "show", "nobody"], 1, "NOT_FOUND"],
    [["devices", "label", "gw-1", "nonsense"], 2, "neither"],
    [["devices", "label", "gw-1", "a b=1"], 1, "INVALID_SHAPE"],
    [["devices", "list", "-l", "=="], 1, "SELECTOR_INVALID"],
    [["devices", "list", "--presence", "here"], 2, "Allowed choices"],
    [["devices", "approve", "gw-2"], 1, "CONFLICT"],
    [["cohorts", "set", "x", "((("], 1, "SELECTOR_INVALID"],
    [["enrolment-tokens", "create"], 2, "--site"],
    [["subscribers", "create", "x"], 2, "--site"],
    [["samples", "export", "--since", "yesterday"], 2, "2026-01-31"],
    [["predictions", "--limit", "0"], 2, "whole number"],
  ])("%j exits %i and says %s", async (args, exitCode, words) => {
    const run = await cli(args, env);
    expect([run.exitCode, run.stderr, run.stdout]).toEqual([exitCode, expect.stringContaining(words), ""]);
  });
});

describe("how devices and readers get in", () => {
  it("makes, lists and revokes enrolment tokens", async () => {
    const args = [
      "--site",
      "b",
      "--uses",
      "3",
      "--ttl",
      "2h",
      "--label",
      "line=1",
      "--serial",
      "s1",
      "--no-preapproved",
    ];
    const run = await cli(["enrolment-tokens", "create", ...args], env);
    expect(run).toMatchObject({ exitCode: 0, stdout: expect.stringMatching(/^bwe_[\w-]+\n$/) });
    const [token] = (await json("enrolment-tokens", "list")).filter((one: { site: string }) => one.site === "b");
    expect(token).toMatchObject({ usesLeft: 3, labels: { line: "1" }, serials: ["s1"], preapproved: false });
    expect(token.expiresAtMs - token.createdAtMs).toBe(7_200_000);
    expect(await json("enrolment-tokens", "revoke", token.id)).toMatchObject({ revoked: true });
    expect(await table("enrolment-tokens", "list")).toMatch(/ revoked /);
  });

  it("makes a subscriber that reads the feed, and ends it", async () => {
    const { stdout } = await cli(["subscribers", "create", "scada", "--site", "plant-a"], env);
    const login = { username: "scada", password: stdout.trim(), clientId: "scada-1" };
    const reader = await connectMqtt(server, login);
    expect(await reader.subscribe("bw/v1/plant-a/feed/#")).toBeLessThan(128);
    expect(await table("subscribers", "list")).toMatch(/^scada +plant-a +\(all\) +\S+ +good$/m);
    expect(await json("subscribers", "revoke", "scada")).toMatchObject({ revoked: true });
    await expect.poll(() => reader.connected()).toBe(false);
    await expect(connectMqtt(server, login)).rejects.toThrow();
  });
});

describe("what was committed", () => {
  it("is exported exactly, in every format", async () => {
    const device = await connectDevice(server, await enrol(server, "gw-3"));
    const rows = [1, 2, 3].map((n) => ({ asset: "pump-1", observedAtMs: 1_760_000_000_000 + n, values: { t: n / 8 } }));
    await device.acknowledged("telemetry", await device.send("telemetry", rows));
    const event = { atMs: 5, kind: "device", severity: "info", code: "BOOTED", text: "It \u001b[2Jbooted." } as const;
    await device.acknowledged("event", await device.send("event", [event]));
    expect(await table("samples", "export", "--device", "gw-3")).toBe(
      [
        "device,asset,time,channel,value,quality,epoch,seq",
        "gw-3,pump-1,2025-10-09T08:53:20.001Z,t,0.125,good,1,1",
        "gw-3,pump-1,2025-10-09T08:53:20.002Z,t,0.25,good,1,2",
        "gw-3,pump-1,2025-10-09T08:53:20.003Z,t,0.375,good,1,3\n",
      ].join("\n"),
    );
    expect(await json("samples", "export", "--device", "gw-3")).toMatchObject(rows);
    expect(await json("samples", "export", "--device", "nobody")).toEqual([]);
    const ndjson = await table("samples", "export", "--device", "gw-3", "--format", "ndjson");
    expect(
      ndjson
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line).values),
    ).toEqual(rows.map(({ values }) => values));
    const late = await json("samples", "export", "--since", "2025-10-09T08:53:20.003Z");
    expect(late).toMatchObject([{ values: { t: 0.375 } }]);
    expect(await json("events", "--device", "gw-3")).toMatchObject([event]);
    expect(await table("events")).toContain("It \\u001b[2Jbooted.");
    expect(await table("predictions")).toBe("(none)\n");
    expect(await json("gaps")).toEqual([]);
    expect(await json("dead-letters")).toEqual([]);
    // When a device was heard is noted twice a second, not with every message.
    await eventually("the device is online", async () => {
      const shown = (await json("devices", "show", "gw-3")) as { presence?: string };
      return shown.presence === "online";
    });
  });

  it("is cut at the limit, and says so", async () => {
    const device = await connectDevice(server, await enrol(server, "gw-4"));
    const event = { atMs: 5, kind: "device", severity: "info", code: "X", text: "x" } as const;
    await device.acknowledged("event", await device.send("event", [event, event, event]));
    const run = await cli(["events", "--device", "gw-4", "--limit", "2", "-o", "json"], env);
    expect(JSON.parse(run.stdout)).toHaveLength(2);
    expect(run.stderr).toContain("more than 2");
  });
});

describe("the server's own commands", () => {
  it("checks the audit log of all this", async () => {
    const verified = await json("audit", "verify");
    expect(verified).toMatchObject({ whole: true });
    expect(verified.entries).toBeGreaterThan(10);
    expect(await table("audit", "list", "--operation", "revokeSubscriber")).toMatch(/\/v1\/subscribers\/scada\/revoke/);
  });

  it("refuses a configuration that is wrong before it starts anything", async () => {
    await expect(startBellwether({ config: "presence: {lateAfterHeartbeats: no}\n" })).rejects.toThrow("INVALID_SHAPE");
  });
});
