import { readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { problem } from "@bellwether/protocol/errors.ts";
import {
  ALERT_CLEARED,
  ALERT_RAISED,
  type EventRecord,
  type InferenceRecord,
  type TelemetryRow,
} from "@bellwether/protocol/messages/stream.ts";
import { digestOf } from "@bellwether/protocol/package/check.ts";
import { createDebounce, type Debounce } from "../../agent/src/inference/debounce.ts";
import type { LiveFigures, ShadowFigures } from "../../agent/src/update/machine.ts";
import type { ServeOutcome, Serving } from "../../agent/src/update/runner.io.ts";
import { type ImageRepository, MODEL, type Version } from "./models.ts";
import type { DeviceTruth } from "./truth.ts";
import type { World } from "./world.ts";

/** What one session has done since it was opened. */
interface Counted {
  readonly version: Version;
  inferences: number;
  errors: number;
  firstAtMs?: number;
  lastAtMs?: number;
}

/** Vectors after which a deadly version takes its process down. */
const DEADLY_AFTER = 12;

export interface RuntimePorts {
  readonly world: World;
  readonly device: string;
  readonly repository: ImageRepository;
  readonly truth: DeviceTruth;
  readonly wallMs: () => number;
  /** A native call of this digest never returns. */
  readonly hangs: (digest: string) => void;
}

/** In the place of ONNX Runtime: what versions answer, and how fast, is what chance made of them. */
export class SimRuntime {
  readonly #ports: RuntimePorts;
  #sessions = new Map<string, Counted>();
  #serving:
    | { readonly slot: Version; readonly predecessor?: Version | undefined; readonly shadow?: Version | undefined }
    | undefined;

  constructor(ports: RuntimePorts) {
    this.#ports = ports;
  }

  get servingDigest(): string | undefined {
    return this.#serving?.slot.digest;
  }

  /** Serves the one model of this world so; where it cannot be opened that is the answer, and what served goes on. */
  serve(wanted: Serving | undefined): ServeOutcome {
    if (wanted === undefined) {
      this.#serving = undefined;
      return {};
    }
    const slot = this.#open(wanted.slotDir);
    if (slot === undefined) return { problem: unreadable(wanted.slotDir) };
    const predecessor = wanted.predecessorSlotDir === undefined ? undefined : this.#open(wanted.predecessorSlotDir);
    const shadow = wanted.shadowSlotDir === undefined ? undefined : this.#open(wanted.shadowSlotDir);
    this.#serving = { slot, predecessor, shadow };
    const open = new Set([slot, predecessor, shadow].map((one) => one?.digest));
    for (const digest of this.#sessions.keys()) if (!open.has(digest)) this.#sessions.delete(digest);
    for (const version of [slot, predecessor, shadow]) {
      if (version === undefined || this.#sessions.has(version.digest)) continue;
      this.#sessions.set(version.digest, { version, inferences: 0, errors: 0 });
    }
    const { truth, world, device } = this.#ports;
    if (truth.served.at(-1)?.digest !== slot.digest) {
      truth.served.push({ digest: slot.digest, fromMs: world.nowMs });
      world.say(device, `serves version ${slot.version}, ${slot.kind}`);
    }
    const failed = wanted.shadowSlotDir !== undefined && shadow === undefined;
    return failed ? { shadowProblem: unreadable(wanted.shadowSlotDir ?? "") } : {};
  }

  /** A slot's version, when its files are what its name says; whatever runs must have been released once. */
  #open(slotDir: string): Version | undefined {
    const { world, repository, device } = this.#ports;
    try {
      const bytes = readFileSync(join(slotDir, "manifest.json"));
      const digest = digestOf(bytes);
      const version = repository.byDigest(digest);
      const model = digestOf(readFileSync(join(slotDir, "model.onnx")));
      const whole = digest === `sha256:${basename(slotDir)}` && version?.manifest.files.model.digest === model;
      if (!whole) {
        world.broken(4, `${device} holds a slot that is not what was verified`);
        return undefined;
      }
      if (!repository.everReleased.has(digest))
        world.broken(4, `${device} runs version ${version?.version}, never released`);
      return version;
    } catch {
      return undefined;
    }
  }

  figures(): (LiveFigures & { readonly model: string; readonly shadow?: ShadowFigures })[] {
    if (this.#serving === undefined) return [];
    const { slot, shadow } = this.#serving;
    const beside = shadow && this.#figuresOf(shadow);
    return [
      {
        model: MODEL,
        ...this.#figuresOf(slot),
        ...(beside ? { shadow: { ...beside, compared: beside.inferences } } : {}),
      },
    ];
  }

  #figuresOf(version: Version) {
    const { inferences, errors, firstAtMs, lastAtMs } = this.#sessions.get(version.digest) as Counted;
    return {
      digest: version.digest,
      inferences,
      errors,
      p99LatencyUs: latencyUsOf(version),
      medianLatencyUs: latencyUsOf(version),
      ...(firstAtMs === undefined ? {} : { firstAtMs }),
      ...(lastAtMs === undefined ? {} : { lastAtMs }),
    };
  }

  /** What the models say of a row; `n` is the row's own number. */
  predict(row: TelemetryRow, n: number): InferenceRecord[] {
    if (this.#serving === undefined) return [];
    const { slot, predecessor, shadow } = this.#serving;
    const { asset, observedAtMs } = row;
    const value = this.#run(slot, n);
    const before = predecessor && this.#run(predecessor, n);
    const beside = shadow && this.#run(shadow, n);
    return [
      {
        asset,
        observedAtMs,
        model: MODEL,
        version: slot.version,
        digest: slot.digest,
        outputs: { n },
        ...(value === undefined
          ? { error: "INFERENCE_FAILED" }
          : { value, latencyUs: latencyUsOf(slot), alert: value > 25 }),
        ...(predecessor && before !== undefined ? { predecessor: { digest: predecessor.digest, value: before } } : {}),
        ...(shadow && beside !== undefined ? { shadow: { digest: shadow.digest, value: beside } } : {}),
      },
    ];
  }

  #run(version: Version, n: number): number | undefined {
    const { truth, world, wallMs, hangs } = this.#ports;
    const counted = this.#sessions.get(version.digest) as Counted;
    counted.firstAtMs ??= wallMs();
    counted.lastAtMs = wallMs();
    if (version.kind === "deadly" && counted.inferences >= DEADLY_AFTER) hangs(version.digest);
    if (version.kind === "failing" && n % 5 < 2) {
      counted.errors++;
      return undefined;
    }
    counted.inferences++;
    const predicted = truth.predicted.get(version.digest) ?? [];
    predicted.push(world.nowMs);
    truth.predicted.set(version.digest, predicted);
    return scoreOf(version, n);
  }
}

/** Two of three scores above this make an alert. */
const ALERT = { direction: "above", threshold: 10, k: 2, n: 3 } as const;

/** Alerts by production's own debounce. A process that begins says anew what it finds, as it cannot know what stands. */
export class SimAlerts {
  readonly #assets = new Map<string, { readonly debounce: Debounce; standing: boolean | undefined }>();

  /** What is to be said of some predictions: an alert that is raised, or cleared. */
  of(predictions: readonly InferenceRecord[]): EventRecord[] {
    return predictions.flatMap(({ asset, observedAtMs: atMs, model, value }): EventRecord[] => {
      const own = this.#assets.get(asset) ?? { debounce: createDebounce(ALERT), standing: undefined };
      this.#assets.set(asset, own);
      const { active, settled } = own.debounce.next(value);
      if (active === own.standing || !(active || settled)) return [];
      own.standing = active;
      const code = active ? ALERT_RAISED : ALERT_CLEARED;
      return [{ atMs, kind: "alert", severity: "warning", code, text: `${asset}: ${code}`, asset, model }];
    });
  }
}

/** What a version says of the nth row of an asset. */
export function scoreOf({ kind, version }: Version, n: number): number {
  const score = 15 * Math.sin(n / 5);
  return Math.round((kind === "shifted" ? 20 - 2 * score : score + version / 16) * 1_000) / 1_000;
}

function latencyUsOf({ kind }: Version): number {
  return kind === "slow" ? 60_000 : 900;
}

function unreadable(slotDir: string) {
  return problem("SLOT_UNREADABLE", { slot: slotDir, file: "model.onnx", reason: "not what was verified" });
}
