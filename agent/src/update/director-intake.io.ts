import type { RoleSpawner } from "@bellwether/protocol/process/roles.io.ts";
import { err, ok, type Result } from "@bellwether/protocol/result.ts";
import { type DirectorDocument, directorShape, openDirector } from "@bellwether/protocol/trust/director.ts";
import { envelopeShape } from "@bellwether/protocol/trust/envelope.ts";
import { readPublicKey } from "@bellwether/protocol/trust/keys.ts";
import type { MetadataAnswer, MetadataRequest, TargetInfo } from "./metadata.worker.ts";

export interface IntakePorts {
  readonly metadataDir: string;
  readonly serverUrl: string;
  readonly device: string;
  readonly rootMetadata: string;
  readonly spawner: RoleSpawner<"metadata">;
  token(renew?: boolean): Promise<Result<string>>;
}

/** A document both repositories agree on, or why not. `again`: for want of the network. */
export type Intake =
  | {
      readonly ok: true;
      readonly document: DirectorDocument;
      readonly disagreements: Readonly<Record<string, Result<never>>>;
    }
  | { readonly ok: false; readonly error: Extract<Result<never>, { ok: false }>["error"]; readonly again: boolean };

const WORKER_LIMIT_MS = 60_000;

/** Where a release stands among the targets. */
function pathOf(model: string, version: number): string {
  return `models/${model}/${version}/manifest.json`;
}

/** The version an unopened document claims: to tell news from repetition, never to trust anything. */
export function claimedVersion(bytes: Uint8Array): number | undefined {
  return peek(bytes)?.version;
}

function peek(bytes: Uint8Array): DirectorDocument | undefined {
  const envelope = envelopeShape.parse(bytes);
  if (!envelope.ok) return undefined;
  const document = directorShape.parse(Buffer.from(envelope.value.payload, "base64"));
  return document.ok ? document.value : undefined;
}

/**
 * Judges a director document against the image repository: refreshes the metadata, takes the director's keys from its
 * targets, opens the document with them, and holds each model it names against the released manifest's digest, length
 * and counter.
 */
export async function takeDocument(
  ports: IntakePorts,
  bytes: Uint8Array,
  trust: { readonly lastVersion: number; readonly nowMs: number },
): Promise<Intake> {
  const token = await ports.token();
  if (!token.ok) return { ok: false, error: token.error, again: true };
  const claimed = peek(bytes)?.models ?? [];
  const answer = await askMetadata(ports.spawner, {
    dir: ports.metadataDir,
    baseUrl: new URL("v1/repository", ports.serverUrl.endsWith("/") ? ports.serverUrl : `${ports.serverUrl}/`).href,
    token: token.value,
    rootMetadata: ports.rootMetadata,
    nowMs: trust.nowMs,
    targets: claimed.map((model) => pathOf(model.model, model.version)),
  });
  if (!answer.ok) return { ok: false, error: answer.problem, again: answer.again };
  const keys = answer.directorKeys.flatMap((hex) => {
    const key = readPublicKey(hex);
    return key.ok ? [key.value] : [];
  });
  const opened = openDirector(bytes, { device: ports.device, keys, ...trust });
  if (!opened.ok) return { ok: false, error: opened.error, again: false };
  const disagreements: Record<string, Result<never>> = {};
  for (const wanted of opened.value.models) {
    const agreed = agrees(wanted, answer.targets[pathOf(wanted.model, wanted.version)]);
    if (!agreed.ok) disagreements[wanted.model] = agreed;
  }
  return { ok: true, document: opened.value, disagreements };
}

/** A device installs only what both repositories name alike. */
function agrees(wanted: DirectorDocument["models"][number], released: TargetInfo | undefined): Result<void> {
  const { model, version } = wanted;
  const refuse = (member: string) => err("NOT_IN_TARGETS", { model, version, member });
  if (!released) return refuse("version");
  if (released.digest !== wanted.manifestDigest) return refuse("digest");
  if (released.length !== wanted.manifestLength) return refuse("length");
  if (released.releaseCounter !== wanted.releaseCounter) return refuse("release counter");
  return ok(undefined);
}

function askMetadata(spawner: RoleSpawner<"metadata">, request: MetadataRequest): Promise<MetadataAnswer> {
  return new Promise((resolve) => {
    const worker = spawner.worker("metadata", request);
    const refuse = (reason: string) =>
      resolve({ ok: false, problem: err("METADATA_REFUSED", { reason }).error, again: true });
    const timer = setTimeout(() => {
      refuse("it took too long");
      void worker.terminate();
    }, WORKER_LIMIT_MS);
    worker.once("message", (answer: MetadataAnswer) => resolve(answer));
    worker.once("error", (cause) => refuse((cause as Error).message));
    worker.once("exit", () => {
      clearTimeout(timer);
      refuse("the worker ended without an answer");
    });
  });
}
