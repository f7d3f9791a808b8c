import { setTimeout as wait } from "node:timers/promises";
import { type Command, Option } from "commander";
import { at, type Client } from "./client.io.ts";
import { type CliContext, collect, moment, wholeNumber } from "./context.io.ts";
import { failure } from "./failure.ts";
import { patiently } from "./patience.ts";
import { type Column, member, printable, time } from "./print.ts";

interface Candidate {
  readonly candidate: string;
  readonly rmse: number;
  readonly ratio: number;
  readonly lower: number;
  readonly upper: number;
  readonly wins: boolean;
}
interface Job {
  readonly id: string;
  readonly model: string;
  readonly cohort: string;
  readonly mode: string;
  readonly trigger: string;
  readonly phase: string;
  readonly version: number | null;
  readonly approvedBy: string | null;
  readonly createdAtMs: number;
  readonly progress: { readonly done: number; readonly step: string } | null;
  readonly error: { readonly message: string } | null;
  readonly result: {
    readonly championRmse: number;
    readonly meanRmse: number;
    readonly chosen: string | null;
    readonly reason: string;
    readonly candidates: readonly Candidate[];
  } | null;
}
interface Policy {
  readonly model: string;
  readonly cohort: string;
  readonly mode: string;
  readonly labelledAssetsMin: number;
  readonly holdoutAssets: readonly string[];
  readonly updatedBy: string;
}

const JOB: readonly Column<Job>[] = [
  member("id"),
  member("model"),
  member("cohort"),
  member("phase"),
  member("trigger"),
  { title: "chosen", value: ({ result }) => result?.chosen ?? "" },
  { title: "version", value: ({ version }) => version ?? "" },
  { title: "approved by", value: ({ approvedBy }) => approvedBy ?? "" },
  { title: "created", value: ({ createdAtMs }) => time(createdAtMs) },
  { title: "reason", value: ({ error, result }) => error?.message ?? result?.reason ?? "" },
];
const CANDIDATE: readonly Column<Candidate>[] = [
  member("candidate"),
  member("rmse"),
  { title: "of the champion's", value: ({ ratio }) => ratio.toFixed(3) },
  { title: "95 % interval", value: ({ lower, upper }) => `${lower.toFixed(3)} to ${upper.toFixed(3)}` },
  { title: "wins", value: ({ wins }) => (wins ? "yes" : "") },
];
const POLICY: readonly Column<Policy>[] = [
  member("model"),
  member("cohort"),
  member("mode"),
  member("labelledAssetsMin", "labelled assets"),
  { title: "held out", value: ({ holdoutAssets }) => holdoutAssets.join(", ") },
  member("updatedBy", "set by"),
];
const AT_REST = new Set(["proposed", "released", "rejected", "failed"]);

interface Terms {
  readonly mode: string;
  readonly holdout?: readonly string[];
}

const modeOption = () =>
  new Option("--mode <mode>", "who releases it: a person, or the policy for this cohort alone")
    .choices(["propose", "auto"])
    .default("propose");

/** `bellwether retraining …`: models for cohorts that have changed. */
export function addRetrainingCommands(program: Command, context: CliContext): void {
  const retraining = program.command("retraining").description("retrain models for cohorts that have changed");
  retraining
    .command("start <model> <cohort>")
    .description("retrain now, from the cohort's committed samples and outcomes")
    .addOption(modeOption())
    .option("--holdout <asset>", "never learn from this asset, nor measure on it (repeatable)", collect)
    .option("--since <time>", "when the process changed; the drift verdict's own time without it", moment)
    .option("--watch", "follow it until it is proposed or has ended")
    .action(async (model: string, cohort: string, options: Terms & { since?: number; watch?: boolean }) => {
      const client = await context.client();
      const job = await client.post<Job>("/v1/retrainings", {
        model,
        cohort,
        ...termsOf(options),
        ...(options.since === undefined ? {} : { sinceMs: options.since }),
      });
      if (options.watch) await watch(client, context, job.id);
      else context.show(job, JOB);
    });
  retraining
    .command("list")
    .description("retrainings, newest first")
    .option("--model <model>", "only of this model")
    .option("--cohort <cohort>", "only for this cohort")
    .action(async (about: { model?: string; cohort?: string }) => {
      const client = await context.client();
      context.print(await Array.fromAsync(client.list<Job>("/v1/retrainings", about)), JOB);
    });
  retraining
    .command("show <retraining>")
    .description("one retraining: every candidate beside the champion, and what became of it")
    .action(async (id: string) => show(context, await (await context.client()).get<Job>(at`/v1/retrainings/${id}`)));
  retraining
    .command("watch <retraining>")
    .description("follow a retraining until it is proposed or has ended; exits 1 when it failed")
    .action(async (id: string) => watch(await context.client(), context, id));
  for (const decision of ["approve", "reject"] as const) {
    retraining
      .command(`${decision} <retraining>`)
      .description(decision === "approve" ? "release it for its cohort and roll it out there" : "do not release it")
      .action(async (id: string) => {
        context.show(await (await context.client()).post<Job>(at`/v1/retrainings/${id}/${decision}`), JOB);
      });
  }
  addPolicyCommands(retraining, context);
}

function addPolicyCommands(retraining: Command, context: CliContext): void {
  const policies = retraining.command("policies").description("when models are retrained by themselves");
  policies
    .command("list")
    .description("every policy")
    .action(async () => {
      const { items } = await (await context.client()).get<{ items: Policy[] }>("/v1/retraining-policies");
      context.print(items, POLICY);
    });
  policies
    .command("set <model> <cohort>")
    .description("retrain once the cohort is called drifted and enough of its assets have failed since")
    .addOption(modeOption())
    .option("--holdout <asset>", "never learn from this asset, nor measure on it (repeatable)", collect)
    .option("--labelled-assets <count>", "how many assets must have failed since the change", wholeNumber(3, 100_000))
    .action(
      async (model: string, cohort: string, { labelledAssets, ...options }: Terms & { labelledAssets?: number }) => {
        const client = await context.client();
        const policy = await client.put<Policy>(at`/v1/retraining-policies/${model}/${cohort}`, {
          ...termsOf(options),
          ...(labelledAssets === undefined ? {} : { labelledAssetsMin: labelledAssets }),
        });
        context.show(policy, POLICY);
      },
    );
  policies
    .command("remove <model> <cohort>")
    .description("retrain nothing by itself any more")
    .action(async (model: string, cohort: string) => {
      await (await context.client()).delete(at`/v1/retraining-policies/${model}/${cohort}`);
    });
}

function termsOf({ mode, holdout }: Terms) {
  return { mode, ...(holdout === undefined ? {} : { holdoutAssets: holdout }) };
}

async function show(context: CliContext, job: Job): Promise<void> {
  context.show(job, JOB);
  if (context.format() !== "table" || job.result === null) return;
  const { championRmse, meanRmse, candidates } = job.result;
  await context.write(`\nchampion ${championRmse.toFixed(3)}, always the mean ${meanRmse.toFixed(3)}\n`);
  context.print(candidates, CANDIDATE);
}

async function watch(client: Client, context: CliContext, id: string): Promise<void> {
  let shown = "";
  for (;;) {
    const job = await patiently(context, () => client.get<Job>(at`/v1/retrainings/${id}`));
    const step = job.progress === null ? "" : `  ${Math.round(100 * job.progress.done)} %  ${job.progress.step}`;
    const line = printable(`${job.id}  ${job.phase}${step}`);
    if (line !== shown) context.say(line);
    shown = line;
    if (AT_REST.has(job.phase)) {
      await show(context, job);
      if (job.phase === "failed") throw failure("TRAINING_FAILED", { run: id, reason: job.error?.message ?? "" });
      return;
    }
    await wait(500, undefined, { signal: context.world.signal });
  }
}
