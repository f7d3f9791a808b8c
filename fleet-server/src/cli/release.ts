import type { Command } from "commander";
import { writeDurably } from "../files.io.ts";
import { type ReleaseRequest, releaseRequest, type SignedRequest, signedRequest } from "../registry/release-request.ts";
import { type CliContext, collect, parseJson, readText, span } from "./context.io.ts";
import { failure, must } from "./failure.ts";
import { type KeysOptions, type Publication, signWithFolder, type Wanted, withKeysOptions } from "./offline.io.ts";
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
    .action(async (versions: readonly string[], options: RequestOptions) => {
      const client = await context.client();
      const request = await client.post<ReleaseRequest>("/v1/repository/requests", {
        changes: wantedOf(versions, options),
      });
      await writeDurably(options.out, textOf(request), 0o644);
    });
  withKeysOptions(
    release
      .command("sign <file>")
      .description("sign a request, or add a signature to one that others signed; needs no server")
      .requiredOption("--out <file>", "where to write what was signed")
      .option("--lasts <span>", "how long it holds, such as 180d", span),
  ).action(async (file: string, options: KeysOptions & { out: string; lasts?: number }) => {
    const { request, targets } = await readSigned(file);
    const { signed, missing } = await signWithFolder(context, request, {
      ...options,
      ...(options.lasts === undefined ? {} : { lifeMs: options.lasts }),
      ...(targets === undefined ? {} : { before: targets }),
    });
    await writeDurably(options.out, textOf(signed), 0o644);
    context.say(missing === 0 ? "It can be published." : `It still needs ${missing} signatures.`);
  });
  release
    .command("publish <file>")
    .description("bring what was signed to the server: devices accept it from now on")
    .action(async (file: string) => {
      const { targets } = await readSigned(file);
      if (targets === undefined) throw failure("FILE_UNREADABLE", { file, reason: "nobody has signed it yet" });
      const client = await context.client();
      context.show(await client.post<Publication>("/v1/repository/publications", { targets }), PUBLICATION_COLUMNS);
    });
}

interface RequestOptions {
  readonly out: string;
  readonly grant?: readonly string[];
  readonly revoke?: readonly string[];
  readonly on?: readonly string[];
  readonly off?: readonly string[];
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
  return [...releases, ...roles];
}

async function readSigned(file: string): Promise<{ readonly request: ReleaseRequest; readonly targets?: string }> {
  const value = parseJson(await readText(file), file);
  if (typeof value === "object" && value !== null && "targets" in value) return must(signedRequest.check(value));
  return { request: must(releaseRequest.check(value)) };
}

function textOf(value: ReleaseRequest | SignedRequest): string {
  return `${JSON.stringify(value, undefined, 1)}\n`;
}

function names(all: Publication["released"]): string {
  return all.map(({ model, version }) => `${model} ${version}`).join(", ") || "none";
}
