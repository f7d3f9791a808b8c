import type { Problem } from "@bellwether/protocol/errors.ts";
import type { Manifest } from "@bellwether/protocol/package/manifest.ts";
import type { Result } from "@bellwether/protocol/result.ts";

/**
 * Where a version stands. validating: the sandbox has not answered yet; invalid: it was refused, and its number is free
 * again; valid: it may be released; released: devices may be asked to run it; withdrawn: no device will install it.
 */
export const VERSION_PHASES = ["validating", "valid", "invalid", "released", "withdrawn"] as const;
export type VersionPhase = (typeof VERSION_PHASES)[number];

/** What the sandbox measured. */
export interface ValidationReport {
  readonly opset: number;
  readonly nodes: number;
  /** Golden cases, runs of the model over them, and the largest difference from what they expect. */
  readonly cases: number;
  readonly runs: number;
  readonly maxDifference: number;
  readonly loadMs: number;
  /** One vector, on the server's own processor. */
  readonly p50LatencyUs: number;
  readonly p99LatencyUs: number;
  /** Most resident memory of the child that ran it. */
  readonly peakBytes: number;
  readonly wallMs: number;
  /** Standard deviation of the primary output in the reference profile. */
  readonly scoreStd: number | null;
}

/** One version of a model as it is kept. */
export interface VersionRecord {
  readonly model: string;
  readonly version: number;
  readonly phase: VersionPhase;
  readonly manifestDigest: string;
  readonly manifestLength: number;
  readonly manifest: Manifest;
  /** Why it is invalid. */
  readonly problem: Problem | null;
  readonly report: ValidationReport | null;
  readonly releaseCounter: number | null;
  readonly createdAtMs: number;
  readonly createdBy: string;
  readonly updatedAtMs: number;
}

/** A model with its newest version. */
export interface ModelRecord {
  readonly model: string;
  readonly versions: number;
  readonly newest: number;
  /** The newest version that is released, if any. */
  readonly released: number | null;
  readonly aliases: Readonly<Record<string, number>>;
}

export interface RegistryStore {
  /** The number after the highest that a valid version ever had. */
  nextVersion(args: { readonly model: string }): Promise<number>;
  /** Keeps a new version as `validating`; `VERSION_EXISTS` unless the one of that number is invalid. */
  add(args: {
    readonly version: Pick<
      VersionRecord,
      "model" | "version" | "manifestDigest" | "manifestLength" | "manifest" | "createdAtMs" | "createdBy"
    >;
  }): Promise<Result<VersionRecord>>;
  /** By number, or by alias. */
  find(args: { readonly model: string; readonly reference: string }): Promise<VersionRecord | undefined>;
  findDigest(args: { readonly model: string; readonly digest: string }): Promise<VersionRecord | undefined>;
  /** Moves a version on, only from one of these phases: `CONFLICT` says where it stands instead. */
  move(args: {
    readonly model: string;
    readonly version: number;
    readonly from: readonly VersionPhase[];
    readonly to: VersionPhase;
    readonly problem?: Problem;
    readonly report?: ValidationReport;
    readonly releaseCounter?: number;
    readonly nowMs: number;
  }): Promise<Result<VersionRecord>>;
  /** By name. */
  models(args: { readonly after?: string; readonly limit: number }): Promise<ModelRecord[]>;
  model(args: { readonly model: string }): Promise<ModelRecord | undefined>;
  /** Newest first. */
  versions(args: {
    readonly model: string;
    readonly before?: number;
    readonly limit: number;
  }): Promise<VersionRecord[]>;
  inPhase(args: { readonly phase: VersionPhase }): Promise<VersionRecord[]>;
  /** Points an alias at a version; `NOT_FOUND` when there is none. */
  setAlias(args: {
    readonly model: string;
    readonly alias: string;
    readonly version: number;
    readonly nowMs: number;
  }): Promise<Result<ModelRecord>>;
  deleteAlias(args: { readonly model: string; readonly alias: string }): Promise<boolean>;
  /** Digests of every blob that a version names. */
  blobs(args: Record<string, never>): Promise<string[]>;
}
