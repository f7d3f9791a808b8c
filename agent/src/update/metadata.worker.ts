import { createHash } from "node:crypto";
import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { parentPort } from "node:worker_threads";
import type { Problem } from "@bellwether/protocol/errors.ts";
import { roleData } from "@bellwether/protocol/process/roles.io.ts";
import { TransportError } from "@bellwether/protocol/tls/dial.io.ts";
import type { Transport } from "@bellwether/protocol/tls/transport.ts";
import { type RetrainingScope, retrainingScope } from "@bellwether/protocol/trust/releases.ts";
import { type Fetcher, Updater } from "tuf-js";
import { DownloadHTTPError } from "tuf-js/dist/error.js";
import { writeDurably } from "../durable.io.ts";
import { type MetadataRefusal, metadataRefusal } from "./metadata-refusal.ts";
import { fetchFrom } from "./source.io.ts";

/** Where metadata come from, where they are kept, and by what they are judged. */
export interface RefreshRequest {
  /** Folder of the metadata generations. */
  readonly dir: string;
  readonly metadataUrl: string;
  readonly token: string;
  readonly transport: Transport;
  /** The root metadata pinned at enrolment. */
  readonly rootMetadata: string;
  /** Expiry is judged at this time; undefined: not at all, and nothing becomes trusted by it. */
  readonly nowMs: number | undefined;
}

/** What the metadata worker is asked. */
export interface MetadataRequest extends RefreshRequest {
  /** Targets to look up. */
  readonly targets: readonly string[];
}

/** A target as the image repository names it. */
export interface TargetInfo {
  readonly digest: string;
  readonly length: number;
  readonly releaseCounter: number;
  /** Where the owners gave the path to a retraining role: how far that role reaches. */
  readonly scope?: RetrainingScope;
}

export type MetadataAnswer =
  | {
      readonly ok: true;
      readonly directorKeys: readonly string[];
      readonly targets: Readonly<Record<string, TargetInfo>>;
      /** Targets of roles whose own metadata could not be trusted; they spoil no other target. */
      readonly refused: Readonly<Record<string, Problem>>;
    }
  | { readonly ok: false; readonly problem: Problem; readonly again: boolean };

const FETCH_TIMEOUT_MS = 20_000;

// Caps against endless data; a root of 344 KB took tuf-js 53 s to parse.
const CAPS = {
  rootMaxLength: 32_768,
  timestampMaxLength: 32_768,
  snapshotMaxLength: 262_144,
  targetsMaxLength: 1_048_576,
};

/** Fetches with the device's token, from that one host only, bounded in length and time; it writes nothing to the disk. */
class BoundFetcher implements Fetcher {
  readonly #token: string;
  readonly #transport: Transport;
  readonly #held: string;
  /** `held` is the folder of the metadata that are on the device. */
  constructor(token: string, transport: Transport, held: string) {
    this.#token = token;
    this.#transport = transport;
    this.#held = held;
  }
  async downloadBytes(url: string, signedLength: number): Promise<Buffer> {
    // tuf-js takes the length that the file above names for the limit; whoever stole that role's online key names any.
    const maxLength = Math.min(signedLength, CAPS.targetsMaxLength);
    const held = heldBytes(join(this.#held, basename(new URL(url).pathname)));
    const unless = held && { "if-none-match": `"${createHash("sha256").update(held).digest("hex")}"` };
    const answer = await fetchFrom(this.#transport, url, {
      headers: { authorization: `Bearer ${this.#token}`, ...unless },
      signal: AbortSignal.timeout(FETCH_TIMEOUT_MS),
    });
    // Whoever says so wrongly could as well send the same file again: it is judged like any other.
    if (held && answer.status === 304) return held;
    if (!answer.ok) {
      await answer.body?.cancel();
      throw new DownloadHTTPError(`the server answered ${answer.status}`, answer.status);
    }
    const parts: Uint8Array[] = [];
    let length = 0;
    for await (const part of answer.body ?? []) {
      length += part.byteLength;
      if (length > maxLength) throw new Error(`longer than ${maxLength} bytes`);
      parts.push(part);
    }
    const bytes = Buffer.concat(parts);
    const twice = keyNamedTwice(bytes);
    if (twice !== undefined) throw new Error(`the key ${twice} has two names`);
    return bytes;
  }
  downloadFile<T>(): Promise<T> {
    return Promise.reject(new Error("blobs are downloaded by download.io.ts"));
  }
}

/** What is on the device of this name; undefined without. */
function heldBytes(path: string): Buffer | undefined {
  try {
    return readFileSync(path);
  } catch {
    return undefined; // then it is fetched
  }
}

/** tuf-js counts key ids, not keys: under two ids one key would reach a threshold of two all by itself. */
function keyNamedTwice(bytes: Buffer): string | undefined {
  type Keys = Readonly<Record<string, { readonly keyval?: { readonly public?: unknown } } | null>>;
  const metadata = JSON.parse(bytes.toString("utf8")) as { signed?: { keys?: Keys; delegations?: { keys?: Keys } } };
  for (const keys of [metadata?.signed?.keys, metadata?.signed?.delegations?.keys]) {
    const seen = new Set<string>();
    for (const key of Object.values(keys ?? {})) {
      const text = String(key?.keyval?.public).trim().toLowerCase();
      if (seen.has(text)) return text;
      seen.add(text);
    }
  }
  return undefined;
}

/** Runs in a worker of its own, which ends with the answer: hostile metadata can cost time, but not the device's. */
export async function runMetadataWorker(): Promise<void> {
  const answer = await refreshMetadata(roleData<MetadataRequest>());
  parentPort?.postMessage(answer);
}

/**
 * Brings the trusted metadata up to date and asks them. Only what is trusted as a whole, when `ask` has its answer, becomes
 * the next generation; throws what tuf-js, the network and the disk say, and then nothing has changed.
 */
export async function withTrusted<T>(
  request: RefreshRequest,
  ask: (updater: Updater, trusted: TrustedSet) => Promise<T>,
): Promise<T> {
  const { dir, metadataUrl, token, transport } = request;
  let next: ReturnType<typeof prepareGeneration> | undefined;
  try {
    next = prepareGeneration(request);
    const updater = new Updater({
      metadataDir: next.folder,
      metadataBaseUrl: metadataUrl,
      fetcher: new BoundFetcher(token, transport, next.folder),
      config: { ...CAPS, fetchRetries: 1 },
    });
    const { trustedSet } = updater as object as { readonly trustedSet: TrustedSet };
    // tuf-js has no option for the time it judges expiry by.
    trustedSet.referenceTime = new Date(request.nowMs ?? 0);
    await updater.refresh();
    const answer = await ask(updater, trustedSet);
    if (request.nowMs === undefined) removeOthers(dir);
    else keepGeneration(dir, next.number, next.folder);
    return answer;
  } catch (cause) {
    if (next) removeOthers(dir);
    throw cause;
  }
}

/** Refreshes the metadata and looks the targets up in them. */
export async function refreshMetadata(request: MetadataRequest): Promise<MetadataAnswer> {
  try {
    return await withTrusted(request, (updater, trusted) => answerOf(updater, trusted, request.targets));
  } catch (cause) {
    return { ok: false, ...refusalOf(cause) };
  }
}

async function answerOf(updater: Updater, trusted: TrustedSet, targets: readonly string[]): Promise<MetadataAnswer> {
  const director = await updater.getTargetInfo("director.json");
  const keys = director?.custom["keys"];
  const found: Record<string, TargetInfo> = {};
  const refused: Record<string, Problem> = {};
  for (const path of targets) {
    const scope = scopeOf(trusted, path);
    try {
      const info = await updater.getTargetInfo(path);
      const counter = info?.custom["releaseCounter"];
      if (!info || typeof counter !== "number") continue;
      const digest = `sha256:${info.hashes["sha256"] ?? ""}`;
      found[path] = { digest, length: info.length, releaseCounter: counter, ...(scope ? { scope } : {}) };
    } catch (cause) {
      const trouble = refusalOf(cause);
      if (trouble.again) throw cause;
      refused[path] = trouble.problem;
    }
  }
  const directorKeys = Array.isArray(keys) ? keys.filter((key): key is string => typeof key === "string") : [];
  return { ok: true, directorKeys, targets: found, refused };
}

function refusalOf(cause: unknown): MetadataRefusal {
  // Whoever answered was not the server: nothing is known of the metadata.
  if (cause instanceof TransportError) return { problem: cause.problem, again: true };
  const { name, message, cause: below } = cause as Error & { cause?: { code?: string; message?: string } };
  return metadataRefusal(`${name}: ${below?.code ?? below?.message ?? message}`.slice(0, 300));
}

/** The part of tuf-js' trusted set that it shows nobody: the clock, and what the targets say beside a delegation. */
export interface TrustedSet {
  referenceTime: Date;
  readonly root: { readonly signed: { readonly consistentSnapshot: boolean } };
  readonly targets?: { readonly signed: { readonly delegations?: Delegations } };
}
interface Delegations {
  rolesForTarget(path: string): Iterable<{ readonly role: string }>;
  readonly roles?: Readonly<Record<string, { readonly unrecognizedFields: Readonly<Record<string, unknown>> }>>;
}

/** What the offline targets themselves say of the role that answers for a path; nothing the role signs can change it. */
function scopeOf({ targets }: TrustedSet, path: string): RetrainingScope | undefined {
  const delegations = targets?.signed.delegations;
  const [first] = delegations?.rolesForTarget(path) ?? [];
  if (first === undefined) return undefined;
  const scope = retrainingScope.check(delegations?.roles?.[first.role]?.unrecognizedFields["custom"]);
  return scope.ok ? scope.value : undefined;
}

/** tuf-js writes in place and without fsync: it gets a copy, which becomes the truth only when it is whole and durable. */
function prepareGeneration({ dir, rootMetadata }: RefreshRequest): { folder: string; number: number } {
  mkdirSync(dir, { recursive: true, mode: 0o700 });
  const current = currentGeneration(dir);
  const number = current + 1;
  const folder = join(dir, `generation-${number}`);
  rmSync(folder, { recursive: true, force: true });
  if (current > 0) cpSync(join(dir, `generation-${current}`), folder, { recursive: true });
  else {
    mkdirSync(folder);
    writeFileSync(join(folder, "root.json"), rootMetadata);
  }
  return { folder, number };
}

function currentGeneration(dir: string): number {
  try {
    return Number(readFileSync(join(dir, "current"), "utf8")) || 0;
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === "ENOENT") return 0;
    throw cause;
  }
}

function keepGeneration(dir: string, number: number, folder: string): void {
  for (const name of readdirSync(folder)) {
    const path = join(folder, name);
    writeDurably(path, readFileSync(path));
  }
  writeDurably(join(dir, "current"), String(number));
  removeOthers(dir);
}

/** Removes every generation but the current one, which may be the new one though making it so ended in an error. */
function removeOthers(dir: string): void {
  try {
    const kept = ["current", `generation-${currentGeneration(dir)}`];
    for (const name of readdirSync(dir))
      if (!kept.includes(name)) rmSync(join(dir, name), { recursive: true, force: true });
  } catch {
    // What a failing disk does not let go takes no trust from anything, and is tried again after the next refresh.
  }
}
