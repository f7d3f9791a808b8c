import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { mkdir, open, readFile, rename, stat } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { bundleFile, documentPath } from "@bellwether/protocol/bundle.ts";
import { parseManifest } from "@bellwether/protocol/package/check.ts";
import { claimsOf, type DirectorDocument } from "@bellwether/protocol/trust/director.ts";
import type { Command } from "commander";
import { writeDurably } from "../files.io.ts";
import type { Client } from "./client.io.ts";
import type { CliContext } from "./context.io.ts";
import { CliFailure, failure, must } from "./failure.ts";
import { type Column, time } from "./print.ts";

/** What an export wrote. */
interface Exported {
  readonly folder: string;
  readonly devices: readonly { readonly device: string; readonly document: number }[];
  readonly files: number;
  readonly bytes: number;
  /** When the first of its signatures runs out: no device takes the bundle after that. */
  readonly goodUntilMs: number;
}

const COLUMNS: readonly Column<Exported>[] = [
  { title: "bundle", value: ({ folder }) => folder },
  { title: "for", value: ({ devices }) => devices.map(({ device, document }) => `${device} (${document})`).join(", ") },
  { title: "files", value: ({ files }) => files },
  { title: "bytes", value: ({ bytes }) => bytes },
  { title: "good until", value: ({ goodUntilMs }) => time(goodUntilMs) },
];

/** Sticks carry what anybody may read: the agent reads it as a user of its own. */
const FOLDER_MODE = 0o755;
const FILE_MODE = 0o644;

/** `bellwether bundle …`: what devices without a line are brought by hand. */
export function addBundleCommands(program: Command, context: CliContext): void {
  const bundle = program.command("bundle").description("updates as files, for devices that have no line");
  bundle
    .command("export <device...>")
    .description("write what these devices should run, with all that they need to verify it")
    .requiredOption("--out <folder>", "where to write it; files that are there and right stay")
    .action(async (devices: readonly string[], options: { out: string }) => {
      context.show(await exportBundle(await context.client(), devices, resolve(options.out)), COLUMNS);
    });
}

async function exportBundle(client: Client, names: readonly string[], folder: string): Promise<Exported> {
  const taken = new BundleFolder(client, folder);
  const documents: { readonly path: string; readonly bytes: Buffer; readonly claims: DirectorDocument }[] = [];
  for (const name of new Set(names)) {
    const path = documentPath(name);
    const bytes = await bytesOf(client, path);
    const claims = claimsOf(bytes);
    if (!claims) throw failure("ANSWER_UNREADABLE", { url: client.url, http: 200 });
    documents.push({ path, bytes, claims });
  }
  const expiries = await taken.metadata();
  for (const { manifestDigest } of documents.flatMap(({ claims }) => claims.models)) {
    const manifest = must(parseManifest(await readFile(await taken.blob(manifestDigest))));
    for (const { digest } of Object.values(manifest.files)) await taken.blob(digest);
  }
  // Last: a bundle that was cut short names nothing that it lacks.
  for (const { path, bytes } of documents) await taken.keep(path, bytes);
  const { files, bytes } = taken;
  return {
    folder,
    devices: documents.map(({ claims: { device, version } }) => ({ device, document: version })),
    files,
    bytes,
    goodUntilMs: Math.min(...expiries, ...documents.map(({ claims }) => claims.expiresAtMs)),
  };
}

/** The signed part of a metadata file, as far as an export looks at it. */
interface Signed {
  readonly expires: string;
  readonly meta?: Readonly<Record<string, { readonly version: number }>>;
}

/** The folder, as it is filled from the server. */
class BundleFolder {
  files = 0;
  bytes = 0;
  readonly #client: Client;
  readonly #folder: string;
  constructor(client: Client, folder: string) {
    this.#client = client;
    this.#folder = folder;
  }

  /** Every metadata file that a device may ask for, whatever it has seen so far; when each of those in force expires. */
  async metadata(): Promise<number[]> {
    const timestamp = await this.#metadata("timestamp.json");
    const version = timestamp.meta?.["snapshot.json"]?.version ?? 1;
    const snapshot = await this.#metadata(`${version}.snapshot.json`);
    const named = Object.entries(snapshot.meta ?? {});
    const roles: Signed[] = [];
    for (const [file, { version }] of named) roles.push(await this.#metadata(`${version}.${file}`));
    // The newest root alone counts, but a device goes through all that it has not seen.
    const root = await this.#roots();
    return [timestamp, snapshot, root, ...roles].map(({ expires }) => Date.parse(expires));
  }

  async #roots(): Promise<Signed> {
    let newest = await this.#metadata("1.root.json");
    for (let version = 2; ; version++) {
      try {
        newest = await this.#metadata(`${version}.root.json`);
      } catch (cause) {
        if (cause instanceof CliFailure && cause.code === "NOT_FOUND") return newest;
        throw cause;
      }
    }
  }

  async #metadata(file: string): Promise<Signed> {
    const path = `/v1/repository/metadata/${file}`;
    const bytes = await bytesOf(this.#client, path);
    await this.keep(path, bytes);
    return (JSON.parse(bytes.toString("utf8")) as { readonly signed: Signed }).signed;
  }

  /** A blob's file, fetched where the folder does not hold it yet. */
  async blob(digest: string): Promise<string> {
    const path = `/v1/blobs/${digest}`;
    const file = join(this.#folder, bundleFile(path));
    await mkdir(dirname(file), { recursive: true, mode: FOLDER_MODE });
    if ((await digestOfFile(file)) !== digest) {
      const actual = await fetchTo(`${file}.part`, await this.#client.stream(path));
      if (actual !== digest) throw failure("BLOB_DIGEST_MISMATCH", { actual, expected: digest });
      await rename(`${file}.part`, file);
    }
    this.files += 1;
    this.bytes += (await stat(file)).size;
    return file;
  }

  async keep(path: string, bytes: Buffer): Promise<void> {
    const file = join(this.#folder, bundleFile(path));
    await mkdir(dirname(file), { recursive: true, mode: FOLDER_MODE });
    await writeDurably(file, bytes, FILE_MODE);
    this.files += 1;
    this.bytes += bytes.byteLength;
  }
}

async function bytesOf(client: Client, path: string): Promise<Buffer> {
  return Buffer.concat(await Array.fromAsync(await client.stream(path)));
}

/** The digest of what is in a file; undefined where there is none. */
async function digestOfFile(file: string): Promise<string | undefined> {
  const hash = createHash("sha256");
  try {
    for await (const part of createReadStream(file)) hash.update(part);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw failure("FILE_UNREADABLE", { file, reason: (cause as NodeJS.ErrnoException).code ?? String(cause) });
  }
  return `sha256:${hash.digest("hex")}`;
}

/** Writes bytes as they arrive, onto the disk, and answers with their digest. */
async function fetchTo(file: string, bytes: AsyncIterable<Uint8Array>): Promise<string> {
  const hash = createHash("sha256");
  const out = await open(file, "w", FILE_MODE);
  try {
    for await (const part of bytes) {
      hash.update(part);
      await out.writeFile(part);
    }
    await out.sync();
  } finally {
    await out.close();
  }
  return `sha256:${hash.digest("hex")}`;
}
