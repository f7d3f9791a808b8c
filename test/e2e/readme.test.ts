import { readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { expect, test } from "vitest";
import { snapshotWhere } from "../kit/agent.ts";
import { eventually } from "../kit/eventually.ts";
import { temporaryFolder } from "../kit/folder.ts";
import { runProcess, startProcess, type TestProcess } from "../kit/processes.ts";

/** Commands of the README as they stand there, comments left out. */
const COMMANDS = [
  ...readFileSync(resolve(import.meta.dirname, "../../README.md"), "utf8").matchAll(/```sh\n(.*?)```/gs),
]
  .flatMap(([, block]) => block!.split("\n"))
  .map((line) => line.replace(/\s+#.*$/, "").trim());

/** Runs the README's own commands in a folder, its example paths and addresses replaced. */
function reader(folder: string) {
  const replaced: Record<string, string> = {
    "/var/lib/bellwether-agent": join(folder, "agent"),
    "/var/lib/bellwether": join(folder, "server"),
  };
  const env: Record<string, string> = {};
  function parts(beginning: string): [command: "bellwether" | "bellwether-agent", ...args: string[]] {
    const found = COMMANDS.filter((line) => line.startsWith(`npx ${beginning}`));
    expect(found, `the README's command ${beginning}`).toHaveLength(1);
    let text = found[0]!.replace(/^npx | > \S+$/g, "");
    for (const [from, to] of Object.entries(replaced)) text = text.replaceAll(from, to);
    return text.match(/'[^']*'|\S+/g)!.map((word) => word.replaceAll("'", "")) as ReturnType<typeof parts>;
  }
  return {
    env,
    replaced,
    start(beginning: string, ...more: string[]): TestProcess {
      const [command, ...args] = parts(beginning);
      return startProcess(command, [...args, ...more], { env, cwd: folder });
    },
    async run(beginning: string, ...more: string[]): Promise<string> {
      const [command, ...args] = parts(beginning);
      const { ended, stdout, stderr } = await runProcess(command, [...args, ...more], { env, cwd: folder });
      expect(ended, `${beginning}: ${stderr}`).toBe(0);
      return stdout;
    },
  };
}

test("the README's commands do what it says, in its order", async () => {
  const folder = temporaryFolder("bellwether-readme-");
  const { env, replaced, run, start } = reader(folder);
  const input = "{id: plant, type: simulator, seed: 9, assets: [pump-1], rowsPerSecond: 50}";
  writeFileSync(join(folder, "agent.yaml"), `assets: [{id: pump-1}]\ninputs: [${input}]\n`);
  const up = start("bellwether up", "--port", "0", "--mqtt-port", "0", "-o", "json");
  const { url, tokenFile } = await up.line("its address", (line) => JSON.parse(line) as Record<string, string>);
  replaced["http://127.0.0.1:8443"] = url!;
  Object.assign(env, { BELLWETHER_URL: url, BELLWETHER_TOKEN_FILE: tokenFile });
  expect(COMMANDS).toContain(
    "export BELLWETHER_URL=http://127.0.0.1:8443 BELLWETHER_TOKEN_FILE=/var/lib/bellwether/admin.token",
  );
  expect(tokenFile).toBe(join(folder, "server", "admin.token"));

  const token = JSON.parse(await run("bellwether enrolment-tokens create", "-o", "json"));
  writeFileSync(join(folder, "enrol.token"), token.secret, { mode: 0o600 });
  await run("bellwether-agent enroll");
  await run("bellwether-agent config check");
  const agent = start("bellwether-agent run");
  await eventually(
    "the device online",
    async () => (/gw-7 .*online/.test(await run("bellwether devices list")) ? 1 : undefined),
    30_000,
  );
  await run("bellwether-agent status");

  writeFileSync(join(folder, "samples.csv"), await run("bellwether-agent simulate"));
  await run("bellwether history import");
  await run("bellwether training start");
  await run("bellwether models release");
  const rollout = start("bellwether rollouts create");
  const state = join(folder, "agent");
  await snapshotWhere(
    "the model at work",
    state,
    ({ pipeline }) => (pipeline?.models ?? []).some(({ inferences }) => inferences > 20),
    60_000,
  );
  rollout.signal("SIGINT");
  expect(await rollout.ended).toBe(130);

  await run("bellwether cohorts set");
  await eventually(
    "the cohort's verdict",
    async () => (/line-2 +pump-rul/.test(await run("bellwether drift list")) ? true : undefined),
    60_000,
  );
  await run("bellwether drift show");
  // What maintenance wrote since.
  writeFileSync(join(folder, "failures.csv"), `asset,time,kind\npump-1,${new Date().toISOString()},failure\n`);
  await run("bellwether outcomes import");
  await run("bellwether performance");
  const headers = { authorization: `Bearer ${readFileSync(tokenFile!, "utf8").trim()}` };
  const first = await (await fetch(`${url}/v1/predictions?limit=1`, { headers })).json();
  replaced["PREDICTION"] = String((first as { items: { id: number }[] }).items[0]!.id);
  expect(await run("bellwether lineage")).toContain("pump-rul");
  expect((await agent.stop()).ended).toBe(0);
  expect((await up.stop()).ended).toBe(0);
});
