import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { digestOf, parseManifest } from "@bellwether/protocol/package/check.ts";
import type { BlobReference } from "@bellwether/protocol/package/manifest.ts";
import type { Command } from "commander";
import { at, type Client } from "./client.io.ts";
import { type CliContext, wholeNumber } from "./context.io.ts";
import { failure, must } from "./failure.ts";
import { type KeysOptions, signAndPublish, withKeysOptions } from "./offline.io.ts";
import { type Column, member, time } from "./print.ts";

interface Model {
  readonly model: string;
  readonly versions: number;
  readonly newest: number;
  readonly released: number | null;
  readonly aliases: Readonly<Record<string, number>>;
}
interface Version {
  readonly model: string;
  readonly version: number;
  readonly phase: string;
  readonly manifestDigest: string;
  readonly problem: { readonly code: string; readonly message: string } | null;
  readonly report: { readonly p99LatencyUs: number; readonly peakBytes: number; readonly maxDifference: number } | null;
  readonly releaseCounter: number | null;
  readonly createdAtMs: number;
  readonly createdBy: string;
}

const MODEL_COLUMNS: readonly Column<Model>[] = [
  member("model"),
  member("versions"),
  member("newest"),
  { title: "released", value: ({ released }) => released ?? "none" },
  { title: "aliases", value: ({ aliases }) => pairs(aliases) },
];
const VERSION_COLUMNS: readonly Column<Version>[] = [
  member("model"),
  member("version"),
  member("phase"),
  { title: "problem", value: ({ problem }) => problem?.code ?? "" },
  { title: "p99 us", value: ({ report }) => report?.p99LatencyUs ?? "" },
  { title: "memory MB", value: ({ report }) => (report ? Math.round(report.peakBytes / 2 ** 20) : "") },
  { title: "created", value: ({ createdAtMs }) => time(createdAtMs) },
  { title: "by", value: ({ createdBy }) => createdBy },
  { title: "digest", value: ({ manifestDigest }) => manifestDigest.slice(0, 19) },
];
const FILES = { model: "model.onnx", golden: "golden.json", reference: "reference.json", card: "card.json" } as const;
const versionNumber = wholeNumber(1, 1_000_000_000);

/** `bellwether models …`: what the server's registry holds. */
export function addModelCommands(program: Command, context: CliContext): void {
  const models = program.command("models").description("models and their versions in the server's registry");
  models
    .command("list")
    .description("all models")
    .action(async () => {
      const client = await context.client();
      context.print(await Array.fromAsync(client.list<Model>("/v1/models")), MODEL_COLUMNS);
    });
  models
    .command("show <model> [version]")
    .description("a model's versions, or one version by number or alias")
    .action(async (model: string, version: string | undefined) => {
      const client = await context.client();
      if (version !== undefined) context.show(await client.get<Version>(pathOf(model, version)), VERSION_COLUMNS);
      else context.print(await Array.fromAsync(client.list<Version>(`${modelPath(model)}/versions`)), VERSION_COLUMNS);
    });
  withKeysOptions(
    models
      .command("upload <folder>")
      .description("upload a package (manifest.json, model.onnx, golden.json, reference.json) and have it validated")
      .option("--version-number <n>", "its number; the next one without it", versionNumber)
      .option("--release", "release it at once when it is valid, with the offline keys of this machine")
      .option("--alias <name>", "point this alias at it"),
  ).action(async (folder: string, options: UploadOptions) => {
    const client = await context.client();
    context.show(await uploadFolder(context, client, folder, options), VERSION_COLUMNS);
  });
  withKeysOptions(
    models
      .command("release <model> <version>")
      .description("sign a valid version with the offline keys of this machine, and publish it to every device")
      .option("--cohort <cohort>", "by the cohort's online role instead: only devices of the cohort accept it"),
  ).action(async (model: string, version: string, { cohort, ...options }: KeysOptions & { cohort?: string }) => {
    if (cohort !== undefined) return order(context, model, version, at`release/${cohort}`);
    const client = await context.client();
    const found = await client.get<Version>(pathOf(model, version));
    context.show(await released(context, client, found, options), VERSION_COLUMNS);
  });
  withKeysOptions(
    models
      .command("withdraw <model> <version>")
      .description("take a version back for good; --sign has the offline keys of this machine tell the devices")
      .option("--sign", "sign and publish targets without it, so that devices refuse it whoever asks"),
  ).action(async (model: string, version: string, { sign, ...options }: KeysOptions & { sign?: boolean }) => {
    await order(context, model, version, "withdraw");
    if (sign) await signAndPublish(context, [], options);
  });
  models
    .command("alias <model> <alias> [version]")
    .description("point an alias at a version; without a version, remove it")
    .action(async (model: string, alias: string, version: string | undefined) => {
      const client = await context.client();
      const path = `${modelPath(model)}${at`/aliases/${alias}`}`;
      if (version === undefined) return client.delete(path);
      const { version: number } = await client.get<Version>(pathOf(model, version));
      context.show(await client.put<Model>(path, { version: number }), MODEL_COLUMNS);
    });
}

async function order(context: CliContext, model: string, reference: string, path: string): Promise<void> {
  const client = await context.client();
  const { version } = await client.get<Version>(pathOf(model, reference));
  context.show(await client.post<Version>(`${pathOf(model, String(version))}/${path}`), VERSION_COLUMNS);
}

/** The version, released to everybody by the offline keys of this machine. */
async function released(context: CliContext, client: Client, { model, version }: Version, options: KeysOptions) {
  await signAndPublish(context, [{ change: "release", model, version }], options);
  return client.get<Version>(pathOf(model, String(version)));
}

interface UploadOptions extends KeysOptions {
  readonly versionNumber?: number;
  readonly release?: boolean;
  readonly alias?: string;
}

/** Sends what the manifest names and the server does not have yet, then the manifest. */
async function uploadFolder(
  context: CliContext,
  client: Client,
  folder: string,
  options: UploadOptions,
): Promise<Version> {
  const { version: _, ...manifest } = must(parseManifest(await readOrFail(join(folder, "manifest.json"))));
  for (const [name, reference] of Object.entries(manifest.files)) {
    await sendBlob(client, join(folder, FILES[name as keyof typeof FILES]), reference);
  }
  const number = options.versionNumber === undefined ? {} : { version: options.versionNumber };
  const path = `${modelPath(manifest.model)}/versions`;
  let version = await client.post<Version>(path, { manifest: { ...manifest, ...number } });
  if (options.release) version = await released(context, client, version, options);
  if (options.alias !== undefined) {
    const alias = `${modelPath(manifest.model)}${at`/aliases/${options.alias}`}`;
    await client.put<Model>(alias, { version: version.version });
  }
  return version;
}

async function sendBlob(client: Client, file: string, { digest }: BlobReference): Promise<void> {
  // Judged here already, so that a changed file is named by its name and not by its digest.
  const bytes = await readOrFail(file);
  const actual = digestOf(bytes);
  if (actual !== digest) throw failure("PACKAGE_FILE_CHANGED", { file, actual, expected: digest });
  await client.send("PUT", `/v1/blobs/${digest}`, bytes, "application/octet-stream");
}

async function readOrFail(file: string): Promise<NonSharedBuffer> {
  return await readFile(file).catch((cause: NodeJS.ErrnoException) => {
    throw failure("FILE_UNREADABLE", { file, reason: cause.code ?? cause.message });
  });
}

function modelPath(model: string): string {
  return at`/v1/models/${model}`;
}

function pathOf(model: string, version: string): string {
  return `${modelPath(model)}${at`/versions/${version}`}`;
}

function pairs(aliases: Readonly<Record<string, number>>): string {
  return Object.entries(aliases)
    .map(([alias, version]) => `${alias}=${version}`)
    .join(", ");
}
