import type { Command } from "commander";
import { writeDurably } from "../files.io.ts";
import type { ReleaseRequest } from "../registry/release-request.ts";
import { type CliContext, collect, span } from "./context.io.ts";
import { failure } from "./failure.ts";
import {
  type KeysOptions,
  type Publication,
  publishFile,
  readOfflineFile,
  signWithFolder,
  type Wanted,
  withKeysOptions,
  writeSigned,
} from "./offline.io.ts";
import type { Column } from "./print.ts";

const PUBLICATION_COLUMNS: readonly Column<Publication>[] = [
  { title: "targets", value: ({ targets }) => targets },
  { title: "released", value: ({ released }) => names(released) },
  { title: "withdrawn", value: ({ withdrawn }) => names(withdrawn) },
];

/** `bellwether release …`: what the offline keys sign, as files that travel between the server and their machine. */
export function addReleaseCommands(program: Command, context: CliContext): void {
  const release = program.command("release").description("have offline keys sign releases, as files");
  release
    .command("request [version...]")
    .description("ask the server what must be signed for MODEL/VERSION, for withdrawals that wait, or to renew")
    .requiredOption("--out <file>", "where to write the request")
    .option("--grant <model/cohort>", "let retraining release the model for the cohort", collect)
    .option("--revoke <model/cohort>", "take that away", collect)
    .option("--on <model/cohort>", "switch it on", collect)
    .option("--off <model/cohort>", "switch it off", collect)
    .option("--director", "name the server's newest director key, and no other")
    .action(async (versions: readonly string[], options: RequestOptions) => {
      const client = await context.client();
      const request = await client.post<ReleaseRequest>("/v1/repository/requests", {
        changes: wantedOf(versions, options),
      });
      await writeDurably(options.out, `${JSON.stringify(request, undefined, 1)}\n`, 0o644);
    });
  withKeysOptions(
    release
      .command("sign <file>")
      .description("sign a request or a root, or add signatures to one that others signed; needs no server")
      .requiredOption("--out <file>", "where to write what was signed")
      .option("--lasts <span>", "how long the targets hold, such as 180d", span),
  ).action(async (file: string, options: KeysOptions & { out: string; lasts?: number }) => {
    await writeSigned(context, options.out, await signWithFolder(context, await readOfflineFile(file), options));
  });
  release
    .command("publish <file>")
    .description("bring what was signed to the server: devices accept it from now on")
    .action(async (file: string) => {
      const signed = await readOfflineFile(file);
      if (signed.root === undefined && signed.targets === undefined)
        throw failure("FILE_UNREADABLE", { file, reason: "nobody has signed it yet" });
      context.show(await publishFile(context, signed), PUBLICATION_COLUMNS);
    });
}

interface RequestOptions {
  readonly out: string;
  readonly grant?: readonly string[];
  readonly revoke?: readonly string[];
  readonly on?: readonly string[];
  readonly off?: readonly string[];
  readonly director?: boolean;
}

function wantedOf(versions: readonly string[], options: RequestOptions): Wanted[] {
  const pair = (text: string, second: string): [string, string] => {
    const [, model, other] = /^([^/]+)\/([^/]+)$/.exec(text) ?? [];
    if (model === undefined || other === undefined)
      throw failure("ARGUMENT_INVALID", { name: text, expected: `must look like MODEL/${second}` });
    return [model, other];
  };
  const releases = versions.map((text): Wanted => {
    const [model, version] = pair(text, "VERSION");
    return { change: "release", model, version: Number(version) };
  });
  const roles = (["grant", "revoke", "on", "off"] as const).flatMap((change) =>
    (options[change] ?? []).map((text): Wanted => {
      const [model, cohort] = pair(text, "COHORT");
      return { change, model, cohort };
    }),
  );
  return [...releases, ...roles, ...(options.director ? [{ change: "director" } as const] : [])];
}

function names(all: Publication["released"]): string {
  return all.map(({ model, version }) => `${model} ${version}`).join(", ") || "none";
}
