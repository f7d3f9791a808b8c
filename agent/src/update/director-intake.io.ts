import type { RoleSpawner } from "@bellwether/protocol/process/roles.io.ts";
import { err, type Result } from "@bellwether/protocol/result.ts";
import {
  claimsOf,
  type DirectedModel,
  type DirectorDocument,
  openDirector,
} from "@bellwether/protocol/trust/director.ts";
import { readPublicKey } from "@bellwether/protocol/trust/keys.ts";
import { releasePath } from "@bellwether/protocol/trust/releases.ts";
import { agrees } from "./agreement.ts";
import type { MetadataAnswer, MetadataRequest } from "./metadata.worker.ts";
import type { UpdateSource } from "./source.io.ts";

export interface IntakePorts extends UpdateSource {
  readonly metadataDir: string;
  readonly device: string;
  readonly rootMetadata: string;
  /** Asks the image repository. */
  readonly askMetadata: (request: MetadataRequest) => Promise<MetadataAnswer>;
  /** The device's own labels, which no server changes. */
  labels(): Readonly<Record<string, string>>;
}

/** A document both repositories agree on, or why not. `again`: for want of the network. */
export type Intake =
  | {
      readonly ok: true;
      readonly document: DirectorDocument;
      /** The director's keys in hex, as the targets name them now. */
      readonly directorKeys: readonly string[];
      readonly disagreements: Readonly<Record<string, Result<never>>>;
    }
  | { readonly ok: false; readonly error: Extract<Result<never>, { ok: false }>["error"]; readonly again: boolean };

const WORKER_LIMIT_MS = 60_000;

function pathOf({ model, version, cohort }: DirectedModel): string {
  return releasePath(model, version, cohort);
}

/**
 * Judges a director document against the image repository: refreshes the metadata, takes the director's keys from its
 * targets, opens the document with them, and holds each model it names against the released manifest's digest, length
 * and counter, and against the cohort it was released for.
 */
export async function takeDocument(
  ports: IntakePorts,
  bytes: Uint8Array,
  trust: { readonly lastVersion: number; readonly nowMs: number; readonly directorKeys?: readonly string[] },
): Promise<Intake> {
  const token = await ports.token();
  if (!token.ok) return { ok: false, error: token.error, again: true };
  const claimed = claimsOf(bytes)?.models ?? [];
  const answer = await ports.askMetadata({
    dir: ports.metadataDir,
    metadataUrl: new URL(
      "v1/repository/metadata",
      ports.serverUrl.endsWith("/") ? ports.serverUrl : `${ports.serverUrl}/`,
    ).href,
    token: token.value,
    transport: ports.transport(),
    rootMetadata: ports.rootMetadata,
    nowMs: trust.nowMs,
    targets: claimed.map(pathOf),
  });
  if (!answer.ok) return { ok: false, error: answer.problem, again: answer.again };
  const keys = answer.directorKeys.flatMap((hex) => {
    const key = readPublicKey(hex);
    return key.ok ? [key.value] : [];
  });
  // A stolen key may have counted as high as numbers go. The owners name a new one: with the key, its numbers are over.
  const sameDirector = trust.directorKeys?.some((key) => answer.directorKeys.includes(key)) ?? true;
  const lastVersion = sameDirector ? trust.lastVersion : 0;
  const opened = openDirector(bytes, { device: ports.device, keys, lastVersion, nowMs: trust.nowMs });
  if (!opened.ok) return { ok: false, error: opened.error, again: false };
  const disagreements: Record<string, Result<never>> = {};
  for (const wanted of opened.value.models) {
    const path = pathOf(wanted);
    const refused = answer.refused[path];
    const agreed = refused
      ? { ok: false as const, error: refused }
      : agrees(wanted, answer.targets[path], ports.labels());
    if (!agreed.ok) disagreements[wanted.model] = agreed;
  }
  return { ok: true, document: opened.value, directorKeys: answer.directorKeys, disagreements };
}

/** Asks the image repository from a thread of its own, which ends with its answer or after a minute. */
export function askMetadata(spawner: RoleSpawner<"metadata">, request: MetadataRequest): Promise<MetadataAnswer> {
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
