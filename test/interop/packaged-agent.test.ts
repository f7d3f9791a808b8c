import { execFileSync, spawnSync } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, readlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { snapshotWhere, startAgentProcess } from "../kit/agent.ts";
import { eventually } from "../kit/eventually.ts";
import { enrolArgs, startFleet, type TestFleet } from "../kit/fleet.ts";
import { suiteFolder, temporaryFolder } from "../kit/folder.ts";
import { type PackagedAgent, packageAgent } from "../kit/packaged.ts";
import { testPackage } from "../kit/packages.ts";
import { runProcess, startProcess } from "../kit/processes.ts";
import { releasePackage } from "../kit/release.ts";
import { parseTrace, traceArgs } from "../kit/traced.ts";

/** What only building or judging the package once more can show: a minute of two cores, by hand and before a release. */
const FULL = process.env["BELLWETHER_CAMPAIGN"] === "full";
/** Far more than any machine replays at the first speed while a version is released and proven. */
const ROWS = 8_000;
const BIG = { encoding: "utf8", maxBuffer: 64 * 1024 * 1024 } as const;
const folderOfSuite = suiteFolder("bellwether-packaged-");
let agent: PackagedAgent;

beforeAll(() => {
  agent = packageAgent(folderOfSuite);
});

/** A device as it comes from a factory: no Node, no tools, an empty home. */
async function device() {
  const folder = temporaryFolder();
  const [home, empty] = [join(folder, "home"), join(folder, "bin")] as const;
  for (const path of [home, empty]) mkdirSync(path);
  const file = join(folder, "rows.csv");
  writeFileSync(file, ["x", ...Array.from({ length: ROWS }, (_, i) => String(i + 1)), ""].join("\n"));
  const yaml = (rowsPerSecond: number) => `
heartbeatMs: 500
assets: [{id: pump-1}]
inputs: [{id: rec, type: replay, file: ${file}, asset: pump-1, rowsPerSecond: ${rowsPerSecond}, points: [{name: x, channel: x, unit: mm/s}]}]
`;
  const fleet = await startFleet(join(folder, "server"), { settings: "rollouts: {tickMs: 200}\n" });
  return { folder, home, yaml, fleet, stateDir: join(folder, "state"), options: { env: { PATH: empty, HOME: home } } };
}

/** Releases a model and waits until the device has proven it. */
async function rollOut(fleet: TestFleet): Promise<string> {
  const { version, manifestDigest } = await releasePackage(fleet, testPackage());
  const { id } = await fleet.call("POST /v1/rollouts", {
    model: "pump-rul",
    version: String(version),
    target: { selector: "" },
    waves: [{ name: "all", targetPercentage: 100, soakMinutes: 0, errorAction: "PAUSE" }],
    confirm: { inferences: 20, soakSeconds: 0, deadlineSeconds: 30, errorFraction: 0 },
  });
  await fleet.call(`POST /v1/rollouts/${id}/start`);
  const proven = await eventually(
    "the version succeeded",
    async () => {
      const { models } = await fleet.call("GET /v1/devices/edge-1");
      return models[0]?.phase === "idle" ? models[0] : undefined;
    },
    40_000,
    100,
  );
  expect(proven).toMatchObject({ outcome: "succeeded", active: { digest: manifestDigest } });
  expect(proven.evidence).toMatchObject({ goldenMatched: true, errors: 0 });
  return manifestDigest;
}

/** Every committed prediction, page by page in order of commit. */
async function predictions(fleet: TestFleet): Promise<readonly { value: number; digest: string }[]> {
  const all = [];
  for (let cursor = ""; ; ) {
    const { items, next } = await fleet.call(`GET /v1/predictions?order=commit&limit=1000${cursor}`);
    all.push(...items);
    if (!next) return all;
    cursor = `&cursor=${encodeURIComponent(next)}`;
  }
}

test("the unpacked package enrols, takes a rollout, predicts, and goes on after a kill: no row lost, none twice", async () => {
  const { folder, stateDir, yaml, fleet, options } = await device();
  const args = await enrolArgs(fleet, stateDir, "edge-1");
  const tokenFile = args.indexOf("--token-file") + 1;
  const input = readFileSync(args[tokenFile]!);
  // As DEVICES.md says it: the token comes from another user's hands, through a pipe.
  const enrolled = execFileSync(agent.command, args.with(tokenFile, "-"), { input, ...options, encoding: "utf8" });
  expect(JSON.parse(enrolled)).toMatchObject({ device: "edge-1", phase: "active" });
  const first = startAgentProcess(folder, stateDir, yaml(50), { command: agent.command, ...options });
  await snapshotWhere("it is online", stateDir, ({ link }) => link.phase === "online");
  expect(readlinkSync(`/proc/${first.pid}/exe`)).toBe(agent.executable);
  const digest = await rollOut(fleet);
  await eventually("predictions at the server", async () => (await predictions(fleet)).length >= 30);
  first.signal("SIGKILL");
  await first.ended;

  const second = startAgentProcess(folder, stateDir, yaml(2_000), { command: agent.command, ...options });
  await eventually(
    "the last prediction",
    async () => (await predictions(fleet)).at(-1)?.value === 10 * ROWS,
    40_000,
    200,
  );
  await snapshotWhere("everything is acknowledged", stateDir, ({ pipeline }) => pipeline?.outbox.unacked === 0);
  const status = await runProcess(agent.command, ["status", "--state", stateDir, "-o", "json"], options);
  expect(JSON.parse(status.stdout)).toMatchObject({ link: { phase: "online" } });
  expect((await fleet.samples()).map(({ values }) => values["x"])).toEqual(
    Array.from({ length: ROWS }, (_, i) => i + 1),
  );
  // One prediction of every row since the model came, through both lives, in order.
  const predicted = await predictions(fleet);
  const values = predicted.map(({ value }) => value);
  expect(values.length).toBeGreaterThan(50);
  expect(values).toEqual(Array.from({ length: values.length }, (_, i) => 10 * (ROWS - values.length + 1 + i)));
  for (const one of predicted) expect(one.digest).toBe(digest);
  expect((await second.stop()).ended).toBe(0);
});

test("it asks nobody but its server, and leaves nothing outside its state directory", async () => {
  const { folder, home, stateDir, yaml, fleet, options } = await device();
  const traces = [join(folder, "enrol.trace"), join(folder, "run.trace")] as const;
  const enrol = [...traceArgs(traces[0]), agent.executable, ...(await enrolArgs(fleet, stateDir, "edge-1"))];
  expect(await runProcess("/usr/bin/strace", enrol, options)).toMatchObject({ ended: 0 });
  const config = join(folder, "agent.yaml");
  writeFileSync(config, yaml(50));
  const run = ["run", "--config", config, "--state", stateDir];
  const running = startProcess("/usr/bin/strace", [...traceArgs(traces[1]), agent.executable, ...run], options);
  await snapshotWhere("it is online", stateDir, ({ link }) => link.phase === "online");
  await rollOut(fleet);
  expect(await running.stop()).toMatchObject({ ended: 0 });

  const asked = parseTrace(traces.map((file) => readFileSync(file, "utf8")).join("\n"));
  const servers = [fleet.url, fleet.mqttUrl].map((url) => new URL(url).host);
  expect([...asked.peers].toSorted()).toEqual(servers.toSorted());
  expect([...asked.made].filter((path) => !path.startsWith(stateDir) && path !== "/dev/null")).toEqual([]);
  expect(readdirSync(home)).toEqual([]);
  // The child that tries a model is the same file, not some Node; the shell before it only sets its limits.
  const roles = asked.started.filter(
    (line) => line.includes("--bellwether-role=") && !line.startsWith("/bin/sh -c ulimit "),
  );
  expect(roles).toEqual([expect.stringMatching(`^${agent.executable} --bellwether-role=selftest `)]);
});

test("a run that asks for a name is seen to: the watch itself works", async () => {
  const { folder, stateDir, options, fleet } = await device();
  const trace = join(folder, "trace");
  const args = (await enrolArgs(fleet, stateDir, "edge-1")).with(2, "http://bellwether.invalid");
  await runProcess("/usr/bin/strace", [...traceArgs(trace), agent.executable, ...args], options);
  expect([...parseTrace(readFileSync(trace, "utf8")).peers].join(" ")).toMatch(/:53\b|nscd/);
});

describe("the package", () => {
  if (FULL) {
    test("Debian's own checker finds no error and no warning", () => {
      const lintian = ["--allow-root", "--fail-on", "error,warning", agent.deb];
      expect(spawnSync("lintian", lintian, { encoding: "utf8" })).toMatchObject({ status: 0, stdout: "" });
    });

    test("is the same, byte by byte, whoever builds it", () => {
      const again = packageAgent(join(folderOfSuite, "again"), "077");
      expect(readFileSync(again.deb).equals(readFileSync(agent.deb))).toBe(true);
    });
  }

  test("holds this machine's files only, and the configuration is the owner's", () => {
    const listed = (folder: string) => readdirSync(join(agent.files, folder), { recursive: true }).toSorted();
    expect(listed("usr/lib/bellwether-agent")).toEqual([
      "bellwether-agent",
      "libonnxruntime.so.1",
      `linux-${process.arch}.node`,
      "onnxruntime_binding.node",
    ]);
    expect(listed("etc")).toEqual(["bellwether-agent", "bellwether-agent/agent.yaml"]);
    const conffiles = execFileSync("dpkg-deb", ["--info", agent.deb, "conffiles"], { encoding: "utf8" });
    expect(conffiles.trim()).toBe("/etc/bellwether-agent/agent.yaml");
  });

  test("its configuration has no fault", async () => {
    const file = join(agent.files, "etc/bellwether-agent/agent.yaml");
    expect(await runProcess(agent.command, ["config", "check", file])).toMatchObject({ ended: 0 });
  });

  test("the control file asks for the C library its files need, no older one", () => {
    const folder = join(agent.files, "usr/lib/bellwether-agent");
    const symbols = readdirSync(folder).map((file) => execFileSync("objdump", ["-T", join(folder, file)], BIG));
    const needed = (name: string) =>
      [...symbols.join("\n").matchAll(new RegExp(`\\(?${name}_([0-9.]+)\\)? `, "g"))].map(([, version]) => version!);
    const newest = needed("GLIBC")
      .toSorted((a, b) => a.localeCompare(b, "en", { numeric: true }))
      .at(-1);
    const depends = execFileSync("dpkg-deb", ["--field", agent.deb, "Depends"], { encoding: "utf8" });
    expect(depends).toContain(`libc6 (>= ${newest})`);
  });

  test("the unit has no fault, and keeps the agent from what is not its own", () => {
    // An unknown key is said, and passes: so nothing may be said.
    const unit = join(agent.files, "usr/lib/systemd/system/bellwether-agent.service");
    const here = join(folderOfSuite, "bellwether-agent.service");
    writeFileSync(
      here,
      readFileSync(unit, "utf8").replaceAll("=/usr/lib/bellwether-agent/", `=${agent.files}/usr/lib/bellwether-agent/`),
    );
    const verified = spawnSync("systemd-analyze", ["verify", "--man=no", here], { encoding: "utf8" });
    expect(verified).toMatchObject({ status: 0, stdout: "", stderr: "" });
    const secure = spawnSync("systemd-analyze", ["security", "--offline=true", "--threshold=15", here], BIG);
    expect(secure.status, secure.stdout).toBe(0);
  });
});
