import { randomBytes } from "node:crypto";
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
import { openTime } from "@bellwether/protocol/trust/time.ts";
import { agrees } from "./agreement.ts";
import type { MetadataAnswer, MetadataRequest } from "./metadata.worker.ts";
import { bodyOf, fetchFrom, type UpdateSource } from "./source.io.ts";

export interface IntakePorts extends UpdateSource {
  readonly metadataDir: string;
  readonly device: string;
  readonly rootMetadata: string;
  /** Asks the image repository. */
  readonly askMetadata: (request: MetadataRequest) => Promise<MetadataAnswer>;
  /** Asks the server what the time is; undefined where it does not say. */
  readonly askTime: (source: UpdateSource) => Promise<SaidTime | undefined>;
  /** The device's own labels, which no server changes. */
  labels(): Readonly<Record<string, string>>;
}

/** An answer about the time, and the nonce that it must answer. */
export interface SaidTime {
  readonly nonce: string;
  readonly bytes: Uint8Array;
}

/** What a device knows of the time by itself. */
export interface OwnTime {
  readonly clockMs: number;
  /** Something that knows the time set the clock. */
  readonly clockSynced: boolean;
  /** The latest time that was signed by somebody trusted. */
  readonly floorMs: number;
}

/** A document both repositories agree on, or why not. `again`: for want of the network. */
export type Intake =
  | {
      readonly ok: true;
      readonly document: DirectorDocument;
      /** The director's keys in hex, as the targets name them now. */
      readonly directorKeys: readonly string[];
      readonly disagreements: Readonly<Record<string, Result<never>>>;
      /** Where the clock was in doubt: the time that the server signed for this very question. */
      readonly provenMs?: number;
    }
  | { readonly ok: false; readonly error: Extract<Result<never>, { ok: false }>["error"]; readonly again: boolean };

const WORKER_LIMIT_MS = 60_000;

function pathOf({ model, version, cohort }: DirectedModel): string {
  return releasePath(model, version, cohort);
}

/** No agent is older than its code: a clock before this is wrong. */
const BUILT_MS = Date.UTC(2026, 0, 1);

interface Trust {
  readonly lastVersion: number;
  readonly time: OwnTime;
  readonly directorKeys?: readonly string[];
}

/**
 * Judges a director document at max(clock, floor). A clock that nobody set is doubted where it stands before what is
 * known, and where something has expired by it; so is a floor ahead of the clock, which a stolen key may have raised. The
 * server is asked then, and what it signs for this question counts (docs/decisions/0143).
 */
export async function takeDocument(ports: IntakePorts, bytes: Uint8Array, trust: Trust): Promise<Intake> {
  const { clockMs, clockSynced, floorMs } = trust.time;
  const ownMs = Math.max(clockMs, floorMs);
  const behind = clockMs < Math.max(floorMs, BUILT_MS);
  const doubted = !clockSynced || floorMs > clockMs;
  const early = doubted && behind ? await provenTime(ports, bytes) : undefined;
  const first = await judgeAt(ports, bytes, trust, early ?? ownMs);
  const expired = !first.ok && (first.error.code === "METADATA_EXPIRED" || first.error.code === "DIRECTOR_EXPIRED");
  const proven = early ?? (expired && doubted ? await provenTime(ports, bytes) : undefined);
  const taken = proven === undefined || proven === early ? first : await judgeAt(ports, bytes, trust, proven);
  return taken.ok && proven !== undefined ? { ...taken, provenMs: proven } : taken;
}

/**
 * What the server signs the time to be, by the director's key as the owners name it. Signatures, versions and thresholds
 * of the metadata hold on the way to that key as ever; their expiry cannot, and nothing of them is kept.
 */
async function provenTime(ports: IntakePorts, bytes: Uint8Array): Promise<number | undefined> {
  const answer = await askOf(ports, bytes, undefined);
  if (!answer?.ok) return undefined;
  const said = await ports.askTime(ports);
  if (said === undefined) return undefined;
  const time = openTime(said.bytes, { device: ports.device, nonce: said.nonce, keys: keysOf(answer.directorKeys) });
  return time.ok ? time.value : undefined;
}

function keysOf(hexes: readonly string[]): Uint8Array[] {
  return hexes.flatMap((hex) => {
    const key = readPublicKey(hex);
    return key.ok ? [key.value] : [];
  });
}

async function askOf(ports: IntakePorts, bytes: Uint8Array, nowMs: number | undefined) {
  const token = await ports.token();
  if (!token.ok) return { ok: false as const, problem: token.error, again: true };
  return await ports.askMetadata({
    dir: ports.metadataDir,
    metadataUrl: new URL(
      "v1/repository/metadata",
      ports.serverUrl.endsWith("/") ? ports.serverUrl : `${ports.serverUrl}/`,
    ).href,
    token: token.value,
    transport: ports.transport(),
    rootMetadata: ports.rootMetadata,
    nowMs,
    targets: nowMs === undefined ? [] : (claimsOf(bytes)?.models ?? []).map(pathOf),
  });
}

/**
 * Judges a director document against the image repository: refreshes the metadata, takes the director's keys from its
 * targets, opens the document with them, and holds each model it names against the released manifest's digest, length
 * and counter, and against the cohort it was released for.
 */
async function judgeAt(ports: IntakePorts, bytes: Uint8Array, trust: Trust, nowMs: number): Promise<Intake> {
  const answer = await askOf(ports, bytes, nowMs);
  if (!answer.ok) return { ok: false, error: answer.problem, again: answer.again };
  const keys = keysOf(answer.directorKeys);
  // A stolen key may have counted as high as numbers go. The owners name a new one: with the key, its numbers are over.
  const sameDirector = trust.directorKeys?.some((key) => answer.directorKeys.includes(key)) ?? true;
  const lastVersion = sameDirector ? trust.lastVersion : 0;
  const opened = openDirector(bytes, { device: ports.device, keys, lastVersion, nowMs });
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

const TIME_BYTES_MAX = 4_096;
const TIME_LIMIT_MS = 10_000;

/** Asks the server for the time with a fresh nonce. Whatever goes wrong, the device goes by what it knows itself. */
export async function askServerTime(source: UpdateSource): Promise<SaidTime | undefined> {
  const token = await source.token();
  if (!token.ok) return undefined;
  const nonce = randomBytes(24).toString("hex");
  const base = source.serverUrl.endsWith("/") ? source.serverUrl : `${source.serverUrl}/`;
  try {
    const answer = await fetchFrom(source.transport(), new URL(`v1/device/time?nonce=${nonce}`, base).href, {
      headers: { authorization: `Bearer ${token.value}` },
      signal: AbortSignal.timeout(TIME_LIMIT_MS),
    });
    const bytes = await bodyOf(answer, TIME_BYTES_MAX);
    return answer.ok && bytes ? { nonce, bytes } : undefined;
  } catch {
    return undefined; // a line that is down: said by whatever asks for more than the time
  }
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
