import { resolve } from "node:path";
import type { Result } from "@bellwether/protocol/result.ts";
import type { Command } from "commander";
import type { BackupIndex } from "../recovery/backup.io.ts";
import type { RestoreReport } from "../recovery/restored.ts";
import type { CliContext } from "./context.io.ts";
import { must } from "./failure.ts";
import { type Column, member, time } from "./print.ts";

/** What the commands run; main.ts gives the real ones. */
export interface Recovery {
  backup(options: { readonly dir: string; readonly out: string }): Promise<Result<BackupIndex>>;
  restore(options: {
    readonly from: string;
    readonly dir: string;
    readonly journal: string | undefined;
  }): Promise<Result<RestoreReport>>;
}

interface LostRecords {
  readonly device: string;
  readonly stream: string;
  readonly fromSeq: number;
  readonly toSeq: number;
}

const REPORT: readonly Column<RestoreReport>[] = [
  { title: "backup of", value: ({ backupAtMs }) => time(backupAtMs) },
  { title: "restored at", value: ({ restoredAtMs }) => time(restoredAtMs) },
  {
    title: "revoked again",
    value: ({ revocations }) => revocations.filter(({ applied }) => applied === "again").length,
  },
  {
    title: "not revoked again",
    value: ({ revocations }) =>
      revocations
        .filter(({ applied }) => applied !== "again")
        .map(({ target, applied }) => `${target}: ${applied}`)
        .join("; "),
  },
  { title: "changes lost", value: ({ lostChangesTotal }) => lostChangesTotal },
];
const LOST: readonly Column<RestoreReport["lostChanges"][number]>[] = [
  { title: "at", value: ({ atMs }) => time(atMs) },
  member("by"),
  member("operation"),
  member("target"),
];

/** `bellwether backup`, `restore` on the server's machine, and `restored`, which asks a server what its restore could not bring back. */
export function addRecoveryCommands(recovery: Recovery) {
  return (program: Command, context: CliContext): void => {
    program
      .command("backup")
      .description("on the server's machine, while it runs or not: copy its data directory, store and keys included")
      .requiredOption("--dir <folder>", "the server's data directory")
      .requiredOption("--out <folder>", "where to write the backup; a folder that is not there yet")
      .action(async (options: { dir: string; out: string }) => {
        const out = resolve(options.out);
        const { atMs, files } = must(await recovery.backup({ dir: resolve(options.dir), out }));
        const bytes = files.reduce((sum, file) => sum + file.bytes, 0);
        context.show({ out, atMs, files: files.length, bytes }, [
          member("out"),
          { title: "as of", value: ({ atMs }) => time(atMs) },
          member("files"),
          member("bytes"),
        ]);
        context.say("It holds the server's online keys and secrets: keep it as you keep those.");
      });
    program
      .command("restore")
      .description("on the server's machine: bring a server back from a backup, verified, into a folder of its own")
      .requiredOption("--from <folder>", "the backup")
      .requiredOption("--dir <folder>", "the data directory to make; it must not hold anything")
      .option("--journal <folder>", "the lost server's journal of changes; by default DIR-journal")
      .action(async ({ from, dir, journal }: { from: string; dir: string; journal?: string }) => {
        const report = must(
          await recovery.restore({
            from: resolve(from),
            dir: resolve(dir),
            journal: journal === undefined ? undefined : resolve(journal),
          }),
        );
        showReport(context, report);
        context.say("What devices no longer hold is listed when they have come back: bellwether restored.");
      });
    program
      .command("restored")
      .description("what the last restore of the server could not bring back")
      .action(async () => {
        const report = await (await context.client()).get<RestoreReport & { lostRecords: LostRecords[] }>(
          "/v1/restore",
        );
        showReport(context, report);
        if (context.format() !== "table") return;
        context.print(report.lostRecords, [
          member("device"),
          member("stream"),
          { title: "records lost", value: ({ fromSeq, toSeq }) => toSeq - fromSeq + 1 },
        ]);
      });
  };
}

function showReport(context: CliContext, report: RestoreReport): void {
  context.show(report, REPORT);
  if (context.format() === "table" && report.lostChanges.length > 0) context.print(report.lostChanges, LOST);
}
