import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { type Bellwether, startBellwether } from "../kit/bellwether.ts";
import { ceremony } from "../kit/ceremony.ts";
import { makeCertificate } from "../kit/certificates.ts";
import { startFleet } from "../kit/fleet.ts";
import { temporaryFolder } from "../kit/folder.ts";
import { startProcess } from "../kit/processes.ts";

const DAY_MS = 86_400_000;
const LONG = { timeout: 240_000 };
const PRODUCTION = { NODE_ENV: "production" };

test("under development keys a production server serves only where it is told to, and says so", LONG, async () => {
  const dir = join(temporaryFolder(), "server");
  const first = await startBellwether({ dir });
  await first.stop();
  const up = ["-o", "json", "up", "--dir", dir, "--port", "0", "--mqtt-port", "0"];
  const refused = startProcess("bellwether", up, { env: PRODUCTION });
  const served = refused.line("it serves", (line) => line.startsWith("{") && "it serves");
  expect(await Promise.race([refused.ended, served])).toBe(1);
  expect(refused.stderr.join("\n")).toMatch(/^DEVELOPMENT_KEYS_REFUSED|"code":"DEVELOPMENT_KEYS_REFUSED"/m);
  const told = await startBellwether({ dir, env: PRODUCTION, more: ["--development-keys"] });
  expect((await told.call("GET /readyz", undefined, { token: null })).http).toBe(200);
  expect(told.log.join("\n")).toMatch(/development keys/i);
});

/** What a server says of each role, in the log, as a metric and over the API. */
async function alarms(server: Bellwether, role: string) {
  const { items } = (await server.call("GET /v1/repository/expiries")).body;
  const metrics: string = (await server.call("GET /metrics")).body;
  return {
    alarm: items.find((one: { role: string }) => one.role === role).alarm,
    days: Math.ceil(Number(new RegExp(`^bellwether_expiry_days\\{role="${role}"\\} (\\S+)$`, "m").exec(metrics)?.[1])),
    said: server.log.filter((line) => line.includes(`the ${role} metadata expire`)).length,
  };
}

test(
  "30, 14 and 3 days before an expiry the log, the metrics and the API say so, until it is signed again",
  LONG,
  async () => {
    const { dir, run, sign, reach } = ceremony();
    await run("keys", "online", "--dir", dir, "--out", "online.json");
    const lasts = ["--root-lasts", "29d", "--targets-lasts", "13d"];
    await sign("keys", "keys", "init", "--online", "online.json", ...lasts, "--out", "first.json");
    await run("keys", "install", "first.json", "--dir", dir);
    const server = await startBellwether({ dir, env: PRODUCTION });
    expect(await alarms(server, "root")).toEqual({ alarm: 30, days: 29, said: 1 });
    expect(await alarms(server, "targets")).toEqual({ alarm: 14, days: 13, said: 1 });
    expect(await alarms(server, "snapshot")).toMatchObject({ alarm: null, said: 0 });

    reach(server);
    const renew = async (...more: string[]) => {
      await run("release", "request", "--out", "request.json");
      await sign("keys", "release", "sign", "request.json", ...more, "--out", "signed.json");
      await run("release", "publish", "signed.json");
    };
    await renew("--lasts", "2d");
    expect(await alarms(server, "targets")).toMatchObject({ alarm: 3, days: 2 });
    await server.stop();
    const again = await startBellwether({ dir, env: PRODUCTION });
    expect(await alarms(again, "targets")).toEqual({ alarm: 3, days: 2, said: 1 });
    reach(again);
    await renew();
    expect(await alarms(again, "targets")).toMatchObject({ alarm: null, days: 180 });
  },
);

test("a TLS certificate of one's own that ends soon is told in the log and over the API", LONG, async () => {
  const folder = temporaryFolder();
  const now = Date.now();
  const ca = await makeCertificate({ ca: true, toMs: now + 1_000 * DAY_MS });
  const own = await makeCertificate({ by: ca, fromMs: now - 60 * DAY_MS, toMs: now + 13 * DAY_MS });
  const [certificate, key, caFile] = ["server.crt", "server.key", "ca.crt"].map((name) => join(folder, name)) as [
    string,
    string,
    string,
  ];
  writeFileSync(certificate, own.pem + ca.pem);
  writeFileSync(key, own.keyPem, { mode: 0o600 });
  writeFileSync(caFile, ca.pem);
  const tls = ["--tls-cert", certificate, "--tls-key", key, "--name", "localhost"];
  const fleet = await startFleet(join(folder, "server"), { tls, reachedBy: caFile });
  const { items } = await fleet.call("GET /v1/repository/expiries");
  const watched = items.filter(({ role }: { role: string }) => role.startsWith("tls"));
  expect(watched).toMatchObject([
    { role: "tls", alarm: 14, renewedBy: "owners" },
    { role: "tls-ca", alarm: null },
  ]);
  expect(fleet.process.stderr.join("\n")).toMatch(/the server's TLS certificate expires in 1[23]/);
});
