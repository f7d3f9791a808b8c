import { copyFile, mkdir, rename, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { err, ok, type Result } from "@bellwether/protocol/result.ts";
import { validator } from "@bellwether/protocol/schema.ts";
import { writeDurably } from "../files.io.ts";
import type { Store } from "../store/store.ts";
import { BackupIndex, digestOf, INDEX_FILE, isEmpty, readText, STORE_FILE, sync } from "./backup.io.ts";
import { readJournal } from "./journal.io.ts";
import { type Revocation, revocationOf } from "./journal.ts";
import { lostOf, RestoreReport, raisedBy } from "./restored.ts";

const backupIndex = validator("The backup's index", BackupIndex);
const restoreReport = validator("The report of the restore", RestoreReport);
const REPORT_FILE = "restored.json";
/** Revocations shortly before the backup may have been under way; applied twice they do no harm. */
const OVERLAP_MS = 60_000;

/** What a restore needs of the other rooms. */
export interface RestorePorts {
  /** Why a store's file is damaged; undefined where it is whole. */
  complaintOf(file: string): string | undefined;
  openStore(dir: string): Promise<Result<Store>>;
  /** Makes an administrator's token, so that every older one may be revoked. */
  makeAdmin(store: Store, dir: string): Promise<void>;
  openRepository(dir: string): Promise<
    Result<{
      /** Moves the numbers of online metadata on, and signs them. */
      raise(by: number): Promise<void>;
      block(model: string, version: number): Promise<Result<unknown>>;
      close(): Promise<void>;
    }>
  >;
  now(): number;
}

/**
 * Brings a server back from a backup into a folder of its own, after every file was held against its digest and the store
 * was found whole: numbers that devices remember are moved on, and what the journal says was revoked since is revoked again.
 * A restore that is interrupted leaves nothing where the server would be.
 */
export async function restoreBackup(
  { from, dir, journal }: { readonly from: string; readonly dir: string; readonly journal: string },
  ports: RestorePorts,
): Promise<Result<RestoreReport>> {
  if (!(await isEmpty(dir))) return err("RESTORE_NOT_EMPTY", { dir });
  const text = await readText(join(from, INDEX_FILE));
  if (text === undefined) return err("BACKUP_INCOMPLETE", { dir: from });
  const index = backupIndex.parse(text);
  if (!index.ok) return index;
  const work = `${dir}.restoring`;
  await rm(work, { recursive: true, force: true });
  const copied = await copyChecked(index.value, from, work);
  if (!copied.ok) return copied;
  const complaint = ports.complaintOf(join(work, STORE_FILE));
  if (complaint !== undefined) return err("BACKUP_DAMAGED", { path: STORE_FILE, reason: complaint });
  const report = await bringUpToDate(index.value, work, journal, ports);
  if (!report.ok) return report;
  await writeDurably(join(work, REPORT_FILE), JSON.stringify(report.value, undefined, 1));
  await rm(dir, { recursive: true, force: true });
  await rename(work, dir);
  await sync(dirname(dir));
  return report;
}

/** What the last restore of a data directory did; undefined where there was none. */
export async function readReport(dir: string): Promise<RestoreReport | undefined> {
  const text = await readText(join(dir, REPORT_FILE));
  const report = text === undefined ? undefined : restoreReport.parse(text);
  return report?.ok ? report.value : undefined;
}

async function copyChecked({ files }: BackupIndex, from: string, to: string): Promise<Result<void>> {
  for (const { path, sha256 } of files) {
    await mkdir(dirname(join(to, path)), { recursive: true, mode: 0o700 });
    if ((await digestOf(join(from, path))) === undefined)
      return err("BACKUP_DAMAGED", { path, reason: "it is missing" });
    await copyFile(join(from, path), join(to, path));
    if ((await digestOf(join(to, path))) !== sha256)
      return err("BACKUP_DAMAGED", { path, reason: "its digest differs" });
    await sync(join(to, path));
  }
  return ok(undefined);
}

async function bringUpToDate(
  { atMs: backupAtMs }: BackupIndex,
  dir: string,
  journal: string,
  ports: RestorePorts,
): Promise<Result<RestoreReport>> {
  const restoredAtMs = ports.now();
  const by = raisedBy(backupAtMs, restoredAtMs);
  const entries = await readJournal(journal, backupAtMs - OVERLAP_MS);
  const store = await ports.openStore(dir);
  if (!store.ok) return store;
  try {
    const repository = await ports.openRepository(dir);
    if (!repository.ok) return repository;
    try {
      await repository.value.raise(by);
      await store.value.director.raise({ by });
      await ports.makeAdmin(store.value, dir);
      const revocations: RestoreReport["revocations"] = [];
      for (const entry of entries) {
        const revocation = revocationOf(entry);
        if (revocation === undefined) continue;
        const done = await apply(revocation, store.value, repository.value, restoredAtMs);
        revocations.push({ ...entry, applied: done.ok ? "again" : done.error.message });
      }
      const facts = factsOf(restoredAtMs, backupAtMs);
      await store.value.governance.addEntry({ facts, http: 200, code: "OK" });
      const since = entries.filter((entry) => entry.atMs >= backupAtMs);
      return ok({ backupAtMs, restoredAtMs, raisedBy: by, revocations, ...lostOf(since, revocationOf) });
    } finally {
      await repository.value.close();
    }
  } finally {
    await store.value.close();
  }
}

function factsOf(atMs: number, backupAtMs: number) {
  const target = `backup of ${new Date(backupAtMs).toISOString()}`;
  return { atMs, requestId: "restore", caller: "command line", operation: "restoreServer", target, bodyDigest: "" };
}

/** Takes back once more what was taken back; what the backup does not know needs no revocation. */
async function apply(
  revocation: Revocation,
  { devices, governance, registry }: Store,
  repository: { block(model: string, version: number): Promise<Result<unknown>> },
  nowMs: number,
): Promise<Result<unknown>> {
  switch (revocation.kind) {
    case "device":
      return devices.setPhase({ device: revocation.device, phase: revocation.phase, nowMs });
    case "token":
      return governance.revokeToken({ id: revocation.id, nowMs });
    case "enrolmentToken":
      return devices.revokeEnrolmentToken({ id: revocation.id });
    case "subscriber":
      return devices.revokeSubscriber({ account: revocation.account });
    case "release": {
      const { model, version } = revocation;
      const blocked = await repository.block(model, version);
      const from = ["valid", "released"] as const;
      const moved = await registry.move({ model, version, from, to: "withdrawn", nowMs });
      return moved.ok ? moved : blocked;
    }
  }
}
