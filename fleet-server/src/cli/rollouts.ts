import { setTimeout as wait } from "node:timers/promises";
import type { Command } from "commander";
import { at, type Client } from "./client.io.ts";
import { type CliContext, parseJson, readText } from "./context.io.ts";
import { failure } from "./failure.ts";
import { patiently } from "./patience.ts";
import { age, type Column, member, printable, time } from "./print.ts";

interface Wave {
  readonly name: string;
  readonly phase: string;
  readonly reason?: string;
  readonly devices: number;
  readonly executions: Readonly<Record<string, number>>;
}
interface Rollout {
  readonly id: string;
  readonly model: string;
  readonly version: number;
  readonly phase: string;
  readonly reason?: string;
  readonly selector: string;
  readonly waveIndex: number;
  readonly waves: readonly Wave[];
  readonly incompatible: number;
  readonly devicesTouched: number;
  readonly createdAtMs: number;
}
interface Execution {
  readonly device: string;
  readonly wave: number;
  readonly phase: string;
  readonly devicePhase: string | null;
  readonly activeVersion: number | null;
  readonly errorCode: string | null;
  readonly lastSeenAtMs: number | null;
}
interface Gate {
  readonly wave: number;
  readonly gate: string;
  readonly verdict: string;
  readonly statistic: number | null;
  readonly n: number;
  readonly controlN: number;
  readonly threshold: number;
  readonly reason: string;
  readonly atMs: number;
  readonly times: number;
}

interface Incompatible {
  readonly device: string;
  readonly code: string;
  readonly reason: string;
}

const ORDERS = ["start", "pause", "resume", "stop", "revert", "retry", "approve", "deny"] as const;
/** Phases in which nothing more happens without a person. */
const AT_REST = new Set(["waitingForApproval", "ready", "paused", "stopped", "reverted", "finished"]);

const COLUMNS: readonly Column<Rollout>[] = [
  member("id"),
  member("model"),
  member("version"),
  member("phase"),
  { title: "wave", value: (rollout) => `${rollout.waveIndex + 1}/${rollout.waves.length}` },
  { title: "devices", value: (rollout) => `${rollout.devicesTouched}/${total(rollout)}` },
  member("incompatible"),
  { title: "created", value: (rollout) => time(rollout.createdAtMs) },
  { title: "reason", value: (rollout) => rollout.reason ?? "" },
];

/** `bellwether rollouts …`: plan, order, watch. */
export function addRolloutCommands(program: Command, context: CliContext): void {
  const rollouts = program.command("rollouts").description("bring model versions to devices, in waves");
  rollouts
    .command("list")
    .description("rollouts, newest first")
    .action(async () => {
      const client = await context.client();
      context.print(await Array.fromAsync(client.list<Rollout>("/v1/rollouts")), COLUMNS);
    });
  addCreate(rollouts, context);
  rollouts
    .command("show <rollout>")
    .description("one rollout with its waves")
    .action(async (id: string) => {
      const client = await context.client();
      const rollout = await client.get<Rollout>(at`/v1/rollouts/${id}`);
      if (context.format() === "table") await context.write(picture(rollout));
      else context.show(rollout, COLUMNS);
    });
  addDetails(rollouts, context);
  for (const order of ORDERS) {
    rollouts
      .command(`${order} <rollout>`)
      .description(`order a rollout to ${order}`)
      .action(async (id: string) => {
        const client = await context.client();
        context.show(await client.post<Rollout>(at`/v1/rollouts/${id}/${order}`), COLUMNS);
      });
  }
  rollouts
    .command("watch <rollout>")
    .description("follow a rollout until it comes to rest; exits 1 unless it finished")
    .action(async (id: string) => watch(await context.client(), context, id));
}

function addCreate(rollouts: Command, context: CliContext): void {
  rollouts
    .command("create")
    .description("plan a rollout of a released version")
    .argument("[model]", "the model")
    .argument("[version]", "its version or alias")
    .option("--selector <selector>", "which devices, by labels; all without it")
    .option("--plan <file>", 'the whole request as JSON ("-" is standard input) instead of the arguments')
    .option("--start", "start it at once")
    .option("--watch", "follow it until it comes to rest")
    .action(async (model: string | undefined, version: string | undefined, options: CreateOptions) => {
      const request = await requestOf(context, model, version, options);
      const client = await context.client();
      let rollout = await client.post<Rollout>("/v1/rollouts", request);
      if (options.start || options.watch) rollout = await client.post<Rollout>(at`/v1/rollouts/${rollout.id}/start`);
      if (options.watch) await watch(client, context, rollout.id);
      else context.show(rollout, COLUMNS);
    });
}

interface CreateOptions {
  readonly selector?: string;
  readonly plan?: string;
  readonly start?: boolean;
  readonly watch?: boolean;
}

async function requestOf(
  context: CliContext,
  model: string | undefined,
  version: string | undefined,
  options: CreateOptions,
): Promise<unknown> {
  if (options.plan !== undefined) return parseJson(await readText(options.plan, context.world.stdin), options.plan);
  if (model === undefined || version === undefined) {
    throw failure("ARGUMENT_INVALID", {
      name: "rollouts create",
      expected: "name a model and a version, or give --plan",
    });
  }
  return { model, version, target: { selector: options.selector ?? "" } };
}

function addDetails(rollouts: Command, context: CliContext): void {
  rollouts
    .command("devices <rollout>")
    .description("where every device stands, and what it proved")
    .action(async (id: string) => {
      const { items } = await (await context.client()).get<{ items: Execution[] }>(at`/v1/rollouts/${id}/executions`);
      context.print(items, [
        member("device"),
        { title: "wave", value: (row) => row.wave + 1 },
        member("phase"),
        { title: "device phase", value: (row) => row.devicePhase },
        { title: "runs", value: (row) => row.activeVersion },
        { title: "error", value: (row) => row.errorCode },
        {
          title: "last seen",
          value: (row) => (row.lastSeenAtMs === null ? "never" : age(context.world.nowMs() - row.lastSeenAtMs)),
        },
      ]);
    });
  rollouts
    .command("incompatible <rollout>")
    .description("devices that were left out, and why they cannot run this version")
    .action(async (id: string) => {
      const client = await context.client();
      const { items } = await client.get<{ items: Incompatible[] }>(at`/v1/rollouts/${id}/incompatible`);
      context.print(items, [member("device"), member("code"), member("reason")]);
    });
  rollouts
    .command("gates <rollout>")
    .description("every gate decision: statistic, counts, threshold, reason")
    .action(async (id: string) => {
      const client = await context.client();
      context.print(await Array.fromAsync(client.list<Gate>(at`/v1/rollouts/${id}/gates`, { limit: 1_000 })), [
        { title: "time", value: (row) => time(row.atMs) },
        { title: "wave", value: (row) => row.wave + 1 },
        member("times"),
        member("gate"),
        member("verdict"),
        member("statistic"),
        member("n"),
        { title: "control n", value: (row) => row.controlN },
        member("threshold"),
        member("reason"),
      ]);
    });
}

/** Repaints on a terminal; elsewhere a line per change. */
async function watch(client: Client, context: CliContext, id: string): Promise<void> {
  let shown = "";
  let lines = 0;
  for (;;) {
    const rollout = await patiently(context, () => client.get<Rollout>(at`/v1/rollouts/${id}`));
    const now = fitted(picture(rollout), context.world.interactive ? context.world.columns() : undefined);
    if (now !== shown && context.format() === "table") {
      const back = context.world.interactive && lines > 0 ? `\u001b[${lines}A\u001b[J` : "";
      await context.write(back + (context.world.interactive ? now : `${now}\n`));
      lines = now.split("\n").length - 1;
      shown = now;
    }
    if (AT_REST.has(rollout.phase)) {
      if (context.format() !== "table") context.show(rollout, COLUMNS);
      if (rollout.phase === "finished") return;
      throw failure("ROLLOUT_NOT_FINISHED", {
        rollout: id,
        phase: rollout.phase,
        reason: rollout.reason ?? "no reason",
      });
    }
    await wait(1_000, undefined, { signal: context.world.signal });
  }
}

function fitted(text: string, columns = Number.POSITIVE_INFINITY): string {
  const lines = text.split("\n").map((line) => [...line]);
  return lines.map((line) => (line.length > columns ? [...line.slice(0, columns - 1), "…"] : line).join("")).join("\n");
}

const BAR = 24;

/** A rollout as people look at it: a bar per wave. */
export function picture(rollout: Rollout): string {
  const name = Math.max(...rollout.waves.map((wave) => wave.name.length));
  const waves = rollout.waves.map((wave) => {
    const done = wave.executions["succeeded"] ?? 0;
    const filled = wave.devices === 0 ? 0 : Math.round((done / wave.devices) * BAR);
    const others = Object.entries(wave.executions)
      .filter(([phase]) => phase !== "succeeded" && phase !== "queued")
      .map(([phase, count]) => `${count} ${phase}`)
      .join(", ");
    const bar = "█".repeat(filled) + "░".repeat(BAR - filled);
    const tail = [others, wave.reason].filter(Boolean).join("; ");
    return `  ${wave.name.padEnd(name)}  ${bar}  ${done}/${wave.devices}  ${wave.phase}${tail ? `: ${printable(tail)}` : ""}`;
  });
  const head = `${rollout.model} ${rollout.version}  ${rollout.phase}${rollout.reason ? `: ${printable(rollout.reason)}` : ""}`;
  const leftOut =
    rollout.incompatible > 0
      ? [`  ${rollout.incompatible} left out: "bellwether rollouts incompatible ${rollout.id}" says why`]
      : [];
  return `${[head, ...waves, ...leftOut].join("\n")}\n`;
}

function total(rollout: Rollout): number {
  return rollout.waves.reduce((sum, wave) => sum + wave.devices, 0);
}
