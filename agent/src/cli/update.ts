import { resolve } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import type { Result } from "@bellwether/protocol/result.ts";
import { Command } from "commander";
import type { LocalAsk } from "../health/local.io.ts";
import type { AgentSnapshot } from "../snapshot.ts";
import type { BundleTaken } from "../update/runner.io.ts";
import { failWith, stateOption } from "./options.ts";

const LOOK_MS = 200;

type AskAgent = (stateDir: string, asked?: LocalAsk) => Promise<Result<unknown>>;

/** `bellwether-agent update --bundle DIR`: gives the running agent a bundle; ends when the bundle may be taken away. */
export function updateCommand(askAgent: AskAgent): Command {
  return new Command("update")
    .description("give the running agent an update that was brought as files, and wait until it needs them no more")
    .requiredOption("--bundle <folder>", "a bundle, as `bellwether bundle export` wrote it")
    .addOption(stateOption())
    .action(async (options: { bundle: string; state: string }) => {
      const state = resolve(options.state);
      const before = await askAgent(state);
      if (!before.ok) return failWith(before.error);
      const { refusals } = before.value as AgentSnapshot;
      const answer = await askAgent(state, { ask: "update", bundle: resolve(options.bundle) });
      if (!answer.ok) return failWith(answer.error);
      const taken = answer.value as Result<BundleTaken>;
      if (!taken.ok) return failWith(taken.error);
      process.stdout.write(`document ${taken.value.directorVersion} was taken\n`);
      await follow(() => askAgent(state), taken.value, refusals.at(-1)?.atMs ?? 0);
    });
}

async function follow(look: () => Promise<Result<unknown>>, taken: BundleTaken, refusedMs: number): Promise<void> {
  for (;;) {
    const answer = await look();
    if (!answer.ok) return failWith(answer.error);
    const { models, refusals } = answer.value as AgentSnapshot;
    const refused = refusals.filter(
      ({ directorVersion, atMs }) => directorVersion === taken.directorVersion && atMs > refusedMs,
    );
    const named = models.filter(({ model }) => taken.models.includes(model));
    const busy = named.some(({ phase }) => phase === "downloading" || phase === "verifying");
    if (refused.length === 0 && busy) {
      await wait(LOOK_MS);
      continue;
    }
    for (const { model, target, phase, outcome } of named) {
      const ended = outcome === undefined ? "" : `, ${outcome}`;
      process.stdout.write(`${model} ${target?.version ?? ""}: ${phase}${ended}\n`);
    }
    const [first] = refused;
    if (first) process.stderr.write(`${first.message} (${first.code})\n`);
    if (first) process.exitCode = 1;
    return;
  }
}
