import { rmSync } from "node:fs";
import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { impliedPoints, MACHINES_DEFAULT } from "../../agent/src/config/inputs.ts";
import { SIGNALS } from "../../agent/src/config/signals.ts";
import { createPredictor, type Predictor } from "../../agent/src/inference/predictor.ts";
import { openSession } from "../../agent/src/inference/session.io.ts";
import type { ModelSession } from "../../agent/src/inference/session.ts";
import { Simulator } from "../../agent/src/inputs/simulator/simulator.ts";
import { verifySlot } from "../../agent/src/trust/slot-files.io.ts";
import { COHORT_RULES, judgeCohorts } from "../../fleet-server/src/drift/cohort.ts";
import { type CohortVerdict, nextVerdict } from "../../fleet-server/src/drift/verdict.ts";
import { judgedWindow, NewestWindows } from "../../fleet-server/src/drift/windows.ts";
import type { HistorySnapshot } from "../../fleet-server/src/retraining/history/snapshot.ts";
import { trainModel } from "../../fleet-server/src/retraining/train.ts";
import { buildTensors, readOutputs } from "../../protocol/src/package/tensors.ts";
import { unwrap } from "../../protocol/src/result.ts";
import { writeSlot } from "../kit/slots.ts";

/*
 * How often a change of one cohort's process is called on it, and on the other, over simulated plants as `npm run demo`
 * has them: `npm exec -- node test/sim/cohort-trial.ts [plants] [first seed] [kind] [rows after the change]`. The devices'
 * predictors and detectors and the server's verdicts, in one process; two cohorts of three devices with three pumps each.
 */

type Change = "none" | "offset" | "gain" | "fault";
const [plants = "10", first = "1", only, changed = "320"] = process.argv.slice(2);
const KINDS: readonly Change[] = only === undefined ? ["offset", "gain", "fault", "none"] : [only as Change];
const STEP_MS = 60_000;
const START_MS = Date.UTC(2026, 0, 1);
const DIGEST = `sha256:${"0".repeat(64)}`;
/** Rows until the process changes, and after that. */
const QUIET_ROWS = 260;
const CHANGED_ROWS = Number(changed);
const COHORTS = ["A", "B"] as const;

function plantOf(seed: number, assets: readonly string[], kind: Change): Simulator {
  const change = kind === "none" ? {} : { change: { kind, fromRow: QUIET_ROWS } };
  return new Simulator(
    {
      ...{ id: "plant", type: "simulator", seed, stepMs: STEP_MS, startMs: START_MS, rowsPerSecond: 0, from: 0 },
      ...{ assets: [...assets], machines: { ...MACHINES_DEFAULT, ...change }, points: impliedPoints(assets) },
    } as ConstructorParameters<typeof Simulator>[0],
    SIGNALS,
  );
}

/** Fourteen pumps, each until its first failure. */
function pastOf(seed: number): HistorySnapshot {
  const names = Array.from({ length: 14 }, (_, i) => `past-${i + 1}`);
  const plant = plantOf(seed, names, "none");
  const channels = impliedPoints(names.slice(0, 1)).map(({ channel, unit }) => ({ channel, unit: unit as string }));
  return {
    channels,
    target: undefined,
    sources: [],
    assets: names.map((asset) => {
      const rows = Array.from({ length: plant.machine(asset).endOfLife(0) + 1 }, (_, i) => plant.row(asset, i));
      const timesMs = Float64Array.from(rows, ({ observedAtMs }) => observedAtMs);
      return {
        asset,
        timesMs,
        channels: channels.map(({ channel }) =>
          Float64Array.from(rows, ({ values }) => Number(values[channel] ?? Number.NaN)),
        ),
        target: undefined,
        failuresMs: timesMs.slice(-1),
      };
    }),
  };
}

async function championOf(seed: number, folder: string): Promise<ModelSession> {
  const request = {
    ...{ history: "past", model: "pump-rul", target: { kind: "rul" as const, cap: 125 }, seed },
    features: { age: false, relative: [], restart: { counter: "service.hours" } },
    drift: { regimes: { features: ["load.mean"], count: 4 } },
  };
  const { package: built } = unwrap(trainModel({ run: "r", request, snapshot: DIGEST }, pastOf(seed), () => {}));
  const profile = JSON.parse(Buffer.from(built.files.reference).toString());
  const { slotDir } = writeSlot(
    folder,
    built.files.model,
    { ...built.manifest, version: 1 },
    profile,
    built.files.golden,
  );
  return unwrap(await openSession(unwrap(await verifySlot(slotDir))));
}

interface Outcome {
  /** Windows after the change until a cohort was called; undefined where it was not. */
  readonly calledAfter: Readonly<Record<string, number | undefined>>;
  readonly last: readonly CohortVerdict[];
}

async function trial(session: ModelSession, seed: number, kind: Change): Promise<Outcome> {
  const drift = session.reference.drift!;
  const devices = Array.from({ length: 6 }, (_, d) => {
    const assets = [1, 2, 3].map((n) => `line-${d + 1}-pump-${n}`);
    const cohort = COHORTS[d < 3 ? 0 : 1];
    const plant = plantOf(seed, assets, cohort === "B" ? kind : "none");
    return { device: `gateway-${d + 1}`, cohort, assets, plant, predictor: predictorOf(session, assets) };
  });
  const windows = new NewestWindows(COHORT_RULES.windowsKept);
  const verdicts = new Map<string, CohortVerdict>();
  const calledAfter: Record<string, number | undefined> = {};
  const windowMs = drift.rowMs * drift.windowVectors;
  for (let row = 0; row < QUIET_ROWS + CHANGED_ROWS; row++) {
    let fresh = false;
    for (const { device, assets, plant, predictor } of devices) {
      for (const asset of assets) predictor.push(plant.row(asset, row));
      for (const record of (await predictor.flush()).drift) {
        windows.add(unwrap(judgedWindow({ device, site: "plant", record }, drift)));
        fresh = true;
      }
    }
    if (!fresh) continue;
    const [reference] = windows.references();
    const members = COHORTS.map((cohort) =>
      windows.of(reference!, new Set(devices.filter((one) => one.cohort === cohort).map(({ device }) => device))),
    );
    const evidence = judgeCohorts(members, drift);
    for (const [i, cohort] of COHORTS.entries()) {
      const verdict = nextVerdict(verdicts.get(cohort), {
        ...{ cohort, model: "pump-rul", reference: reference!, evidence: evidence[i]!, assets: members[i]! },
        channelOf: (feature) => session.manifest.features.find(({ name }) => name === feature)?.channel,
        ...{ devicesMin: COHORT_RULES.devicesMin, windowMs, nowMs: START_MS + row * STEP_MS },
      });
      verdicts.set(cohort, verdict);
      if (verdict.phase === "drifted") {
        calledAfter[cohort] ??= Math.ceil((verdict.enteredToMs - START_MS - QUIET_ROWS * STEP_MS) / windowMs);
      }
    }
  }
  return { calledAfter, last: [...verdicts.values()] };
}

function predictorOf(session: ModelSession, assets: readonly string[]): Predictor {
  const tensors = { build: buildTensors, read: readOutputs };
  const predictor = unwrap(createPredictor(session, { tensors, nowMs: () => 8e15 }));
  const conversion = { scale: 1, offset: 0, same: true };
  for (const asset of assets) {
    predictor.bind(
      asset,
      session.manifest.channels.map(({ channel }) => ({ channel, conversion })),
    );
  }
  return predictor;
}

const folder = await mkdtemp(join(tmpdir(), "bellwether-trial-"));
const called: Record<string, { right: number[]; missed: number[]; wrong: number[] }> = {};
for (let seed = Number(first); seed < Number(first) + Number(plants); seed++) {
  const session = await championOf(seed, folder);
  for (const kind of KINDS) {
    const { calledAfter, last } = await trial(session, seed, kind);
    const of = called[kind] ?? { right: [], missed: [], wrong: [] };
    called[kind] = of;
    if (calledAfter["B"] === undefined) of.missed.push(seed);
    else of.right.push(calledAfter["B"]);
    if (calledAfter["A"] !== undefined) of.wrong.push(seed);
    const [strongest] = last.find(({ cohort }) => cohort === "B")!.features;
    console.log(
      `seed ${seed}, ${kind}: B ${calledAfter["B"] ?? "not called"}, A ${calledAfter["A"] ?? "not called"}; strongest at the end ${strongest?.feature} ${strongest?.shift.toFixed(2)}, t ${strongest?.t.toFixed(1)}, p ${strongest?.p.toExponential(1)}`,
    );
  }
  await session.close();
}
rmSync(folder, { recursive: true });
for (const [kind, { right, missed, wrong }] of Object.entries(called)) {
  const median = right.toSorted((a, b) => a - b)[right.length >> 1];
  console.log(
    `${kind}: called on B ${right.length} of ${plants} (median after ${median} windows), missed ${missed}; on A: ${wrong}`,
  );
}
