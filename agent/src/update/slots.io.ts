import {
  closeSync,
  existsSync,
  fsyncSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statfsSync,
} from "node:fs";
import { join } from "node:path";
import { err, ok, type Result } from "@bellwether/protocol/result.ts";
import { makeFolder, writeDurably } from "../durable.io.ts";
import { idleModel, type ModelState } from "./machine.ts";

/** What the updater keeps: the newest document it accepted, the time it may trust, and every model's state. */
export interface UpdateState {
  readonly v: 1;
  readonly directorVersion: number;
  /** The director's keys in hex as the targets named them then: when none of them is named any more, its numbers are void. */
  readonly directorKeys?: readonly string[];
  /** The latest time that was signed by somebody trusted: a clock before it is wrong. */
  readonly timeFloorMs: number;
  readonly models: readonly ModelState[];
  /** The folder that brought a document: what that document wants is looked for there too, also after a restart. */
  readonly bundle?: { readonly folder: string; readonly directorVersion: number };
}

/** The device's disk as updates see it: `update.json` says what serves, `slots/` holds verified packages. */
export interface Slots {
  load(): UpdateState;
  /** Durable when it returns. */
  save(state: UpdateState): void;
  /** The folder of a verified package. */
  pathOf(model: string, digest: string): string;
  /** The folder a download goes to; it keeps what an earlier try has left. */
  partialOf(model: string, digest: string): string;
  has(model: string, digest: string): boolean;
  /** Turns a verified download into a slot, durably. */
  promote(model: string, digest: string): void;
  /** Removes a slot that is no longer what was verified. */
  discard(model: string, digest: string): void;
  /** Removes every slot and download but those of these digests. */
  keepOnly(model: string, digests: readonly string[]): void;
  /** `DISK_TOO_FULL` where a download would not leave a tenth of its size free. */
  preflight(bytes: number): Result<void>;
}

const FILE = "update.json";

/** Slots below a state directory. */
export function openSlots(stateDir: string): Slots {
  const hex = (digest: string) => digest.replace("sha256:", "");
  const folder = (model: string) => join(stateDir, "slots", model);
  return {
    load() {
      const path = join(stateDir, FILE);
      const nothing: UpdateState = { v: 1, directorVersion: 0, timeFloorMs: 0, models: [] };
      const text = readText(path);
      if (text === undefined) return nothing;
      const kept = keptOf(text);
      if (kept) return { ...kept, models: kept.models.map((model) => ({ ...idleModel(model.model), ...model })) };
      // It is written whole or not at all, so this is a disk that rots. A device without models that still measures and
      // can be told anew is worth more than one that starts over and over; the file stays for whoever looks.
      renameSync(path, `${path}.unreadable`);
      return nothing;
    },
    save: (state) => writeDurably(join(stateDir, FILE), JSON.stringify(state)),
    pathOf: (model, digest) => join(folder(model), hex(digest)),
    partialOf(model, digest) {
      const path = join(folder(model), `${hex(digest)}.partial`);
      makeFolder(path);
      return path;
    },
    has: (model, digest) => existsSync(join(folder(model), hex(digest), "manifest.json")),
    promote(model, digest) {
      const from = join(folder(model), `${hex(digest)}.partial`);
      for (const name of readdirSync(from)) syncPath(join(from, name));
      syncPath(from);
      rmSync(join(folder(model), hex(digest)), { recursive: true, force: true });
      renameSync(from, join(folder(model), hex(digest)));
      syncPath(folder(model));
    },
    discard: (model, digest) => rmSync(join(folder(model), hex(digest)), { recursive: true, force: true }),
    keepOnly(model, digests) {
      const kept = new Set(digests.map(hex));
      if (!existsSync(folder(model))) return;
      for (const name of readdirSync(folder(model))) {
        if (!kept.has(name.replace(".partial", "")))
          rmSync(join(folder(model), name), { recursive: true, force: true });
      }
    },
    preflight(bytes) {
      const { bavail, bsize } = statfsSync(stateDir);
      const free = bavail * bsize;
      const needed = Math.ceil(bytes * 1.1) + 16 * 1024 * 1024;
      return free >= needed ? ok(undefined) : err("DISK_TOO_FULL", { free, needed });
    },
  };
}

/** Undefined where there is no such file. A disk that fails once may not fail the next moment: nobody starts without models for that. */
function readText(path: string, tries = 3): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    return tries > 1 ? readText(path, tries - 1) : "";
  }
}

function keptOf(text: string): UpdateState | undefined {
  try {
    const kept = JSON.parse(text) as Partial<UpdateState> | null;
    const whole =
      kept?.v === 1 &&
      Number.isSafeInteger(kept.directorVersion) &&
      Number.isFinite(kept.timeFloorMs) &&
      Array.isArray(kept.models) &&
      kept.models.every((model) => typeof model?.model === "string" && typeof model.phase === "string");
    return whole ? (kept as UpdateState) : undefined;
  } catch {
    return undefined;
  }
}

function syncPath(path: string): void {
  const file = openSync(path, "r");
  try {
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
}
