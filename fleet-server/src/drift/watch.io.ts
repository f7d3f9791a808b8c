import type { Result } from "@bellwether/protocol/result.ts";
import type { StoredDriftWindow } from "../store/drift.ts";
import type { Store } from "../store/store.ts";
import { COHORT_RULES, judgeCohorts } from "./cohort.ts";
import type { KnownReference, References } from "./references.io.ts";
import { type CohortVerdict, nextVerdict } from "./verdict.ts";
import { judgedWindow, NewestWindows } from "./windows.ts";

/** Windows committed so long ago say nothing of today. */
const MEMORY_MS = 30 * 86_400_000;
const READ_AT_ONCE = 1_000;

export interface DriftWatchPorts {
  readonly store: Pick<Store, "devices" | "drift">;
  readonly references: References;
  /** Active devices that a selector selects. */
  matching(selector: string): Promise<Result<readonly string[]>>;
  /** A cohort entered a phase; `assets` are those it is about, with their sites. */
  changed(
    verdict: CohortVerdict,
    assets: readonly { readonly site: string; readonly device: string; readonly asset: string }[],
  ): void;
  now(): number;
  /** Told what goes wrong in the background. */
  report(problem: string, detail: unknown): void;
}

export interface DriftWatch {
  start(everyMs: number): Promise<void>;
  /** Resolves when no judgement is under way any more. */
  stop(): Promise<void>;
}

/** One model's newest windows; fresh when something arrived since the last judgement. */
interface WatchedModel {
  readonly windows: NewestWindows;
  fresh: boolean;
}

interface Cohort {
  readonly cohort: string;
  readonly devices: ReadonlySet<string>;
}

/**
 * Judges cohorts as windows are committed. Everything is read from the store, so a restart forgets nothing, and a window
 * that arrives twice is there once.
 */
export function createDriftWatch(ports: DriftWatchPorts): DriftWatch {
  const { store } = ports;
  const models = new Map<string, WatchedModel>();
  const known = new Map<string, KnownReference>();
  let afterId = 0;
  let timer: NodeJS.Timeout | undefined;
  let turn = Promise.resolve();
  let idle = true;

  async function readNew(): Promise<void> {
    for (;;) {
      const rows = await store.drift.windows({ afterId, limit: READ_AT_ONCE });
      for (const row of rows) await take(row);
      afterId = rows.at(-1)?.id ?? afterId;
      if (rows.length < READ_AT_ONCE) return;
    }
  }

  async function take(row: StoredDriftWindow): Promise<void> {
    const { model, digest, reference } = row.record;
    const found = await ports.references.open(model, digest, reference);
    if (found === undefined) return;
    const window = judgedWindow(row, found.drift);
    // One device's sketch of other edges must not spoil what the others say: it is left out, and told.
    if (!window.ok) return ports.report("drift", { device: row.device, ...window.error });
    const own = models.get(model) ?? { windows: new NewestWindows(COHORT_RULES.windowsKept), fresh: false };
    models.set(model, own);
    known.set(reference, found);
    own.windows.add(window.value);
    own.fresh = true;
  }

  async function judge(): Promise<void> {
    await readNew();
    const fresh = [...models].filter(([, own]) => own.fresh);
    if (fresh.length === 0) return;
    const cohorts = await cohortsNow();
    for (const [model, own] of fresh) {
      own.fresh = false;
      await judgeModel(model, own.windows, cohorts);
    }
  }

  async function cohortsNow(): Promise<Cohort[]> {
    const cohorts: Cohort[] = [];
    for (const { cohort, selector } of await store.devices.listCohorts({})) {
      const devices = await ports.matching(selector);
      if (devices.ok) cohorts.push({ cohort, devices: new Set(devices.value) });
    }
    return cohorts;
  }

  async function judgeModel(model: string, windows: NewestWindows, cohorts: readonly Cohort[]): Promise<void> {
    const before = await store.drift.verdicts({ model });
    const judged = [...windows.references()].flatMap((reference) => {
      const { drift, channels } = known.get(reference)!;
      const members = cohorts
        .map(({ cohort, devices }) => ({ cohort, assets: windows.of(reference, devices) }))
        .filter(({ assets }) => assets.length > 0);
      const evidence = judgeCohorts(
        members.map(({ assets }) => assets),
        drift,
      );
      return members.map(({ cohort, assets }, i) => {
        const earlier = before.find((verdict) => verdict.cohort === cohort && verdict.reference === reference);
        const verdict = nextVerdict(earlier, {
          cohort,
          model,
          reference,
          evidence: evidence[i]!,
          assets,
          channelOf: (feature) => channels.get(feature),
          devicesMin: COHORT_RULES.devicesMin,
          windowMs: drift.rowMs * drift.windowVectors,
          nowMs: ports.now(),
        });
        return { verdict, changed: earlier?.phase !== verdict.phase, assets };
      });
    });
    await store.drift.saveVerdicts({
      model,
      verdicts: judged.map(({ verdict, changed }) => ({ verdict, changed })),
    });
    for (const { verdict, changed, assets } of judged) {
      if (!changed) continue;
      ports.changed(
        verdict,
        assets.map((own) => own[0]!),
      );
    }
  }

  function tick(): void {
    if (!idle) return;
    idle = false;
    turn = judge()
      .catch((cause) => ports.report("drift", cause))
      .finally(() => {
        idle = true;
      });
  }

  return {
    async start(everyMs) {
      afterId = await store.drift.idBefore({ committedAtMs: ports.now() - MEMORY_MS });
      timer = setInterval(tick, everyMs);
    },
    async stop() {
      clearInterval(timer);
      await turn;
    },
  };
}
