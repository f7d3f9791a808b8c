import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { until } from "./api.io.ts";
import type { Fleet } from "./fleet.io.ts";
import { type Plant, type TrueRow, toCsv } from "./plant.ts";

/** A trained version, before anybody released it. */
export interface Trained {
  readonly version: number;
  /** RMSE on assets of the past that were held out. */
  readonly heldOutRmse: number | undefined;
}

/** Imports a past with these targets under a label. */
export async function importPast(
  fleet: Fleet,
  plant: Plant,
  label: string,
  rows: readonly TrueRow[],
  targets: readonly number[] | "run to failure",
): Promise<void> {
  const file = join(fleet.folder, `${label}.csv`);
  const toFailure = targets === "run to failure";
  await writeFile(file, toCsv(rows, toFailure ? undefined : targets));
  const units = Object.entries(plant.units).flatMap(([channel, unit]) => ["--unit", `${channel}=${unit}`]);
  await fleet.cli("history", "import", file, "--target", toFailure ? "rul" : "target", "--label", label, ...units);
}

/** Trains a version of the plant's model from an imported past, always in the same way. */
export async function train(
  fleet: Fleet,
  plant: Plant,
  label: string,
  seed: number,
  target: "rul" | "column",
): Promise<Trained> {
  const request = join(fleet.folder, `train-${label}-${seed}.json`);
  const learns = target === "rul" ? { kind: "rul", cap: plant.cap } : { kind: "column", column: "target" };
  await writeFile(
    request,
    JSON.stringify({
      model: plant.model,
      history: label,
      target: learns,
      features: plant.features,
      ...(plant.drift === undefined ? {} : { drift: plant.drift }),
      seed,
    }),
  );
  const started = await fleet.cli<{ id: string }>("training", "start", "--request", request);
  const run = await until(
    `training ${label}`,
    async () => {
      const now = await fleet.api.get<TrainingRun>(`/v1/training-runs/${started.id}`);
      if (now.phase === "failed" || now.phase === "cancelled") {
        throw new Error(`training ${label} ${now.phase}: ${now.error?.message ?? "no reason"}`);
      }
      return now.phase === "succeeded" ? now : undefined;
    },
    120_000,
  );
  if (!run.result) throw new Error(`training ${label} gave no version`);
  return { version: run.result.version, heldOutRmse: run.summary?.evaluation["rmse"] ?? undefined };
}

interface TrainingRun {
  readonly phase: string;
  readonly result: { readonly version: number } | null;
  readonly error: { readonly message: string } | null;
  readonly summary: { readonly evaluation: Readonly<Record<string, number | null | undefined>> } | null;
}

export interface RolloutView {
  readonly id: string;
  readonly model: string;
  readonly version: number;
  readonly phase: string;
  readonly reason?: string;
  readonly devicesTouched: number;
  readonly waves: readonly { readonly name: string; readonly phase: string; readonly devices: number }[];
}

const AT_REST = new Set(["paused", "stopped", "reverted", "finished"]);

/** Releases a version and rolls it out: two canaries, then the rest, reverting by itself; answers where it came to rest. */
export async function rollOut(
  fleet: Fleet,
  plant: Plant,
  version: number,
  onChange: (line: string) => void,
): Promise<RolloutView> {
  await fleet.cli("models", "release", plant.model, String(version));
  const { id } = await fleet.api.post<{ id: string }>("/v1/rollouts", {
    model: plant.model,
    version: String(version),
    target: { selector: "site=plant" },
    waves: [
      { name: "canary", targetPercentage: 33, soakMinutes: 0.05, errorAction: "REVERT", gates: GATES },
      { name: "rest", targetPercentage: 100, soakMinutes: 0.05, errorAction: "REVERT", gates: GATES },
    ],
    confirm: { inferences: 30, soakSeconds: 6, deadlineSeconds: 60 },
    gateTimeoutMinutes: 0.5,
  });
  await fleet.api.post(`/v1/rollouts/${id}/start`);
  let shown = "";
  return until(
    `the rollout of version ${version} comes to rest`,
    async () => {
      const rollout = await fleet.api.get<RolloutView>(`/v1/rollouts/${id}`);
      const line = `${rollout.phase}: ${rollout.waves.map((wave) => `${wave.name} ${wave.phase}`).join(", ")}`;
      if (line !== shown) onChange(line);
      shown = line;
      return AT_REST.has(rollout.phase) ? rollout : undefined;
    },
    120_000,
  );
}

const GATES = ["inference-errors", "latency", { name: "score-shift", minSamples: 60 }];

/** What a rollout says of one of its devices. */
export interface Execution {
  readonly device: string;
  readonly wave: number;
  readonly phase: string;
  readonly assignedAtMs: number | null;
  readonly activeVersion: number | null;
  readonly errorCode: string | null;
}

export async function executionsOf(fleet: Fleet, rollout: string): Promise<Execution[]> {
  return (await fleet.api.get<{ items: Execution[] }>(`/v1/rollouts/${rollout}/executions`)).items;
}

/** Every device a version ever came to: by its predictions, by what it runs now, and by what the rollout asked of it. */
export async function devicesOf(
  fleet: Fleet,
  model: string,
  version: number,
  executions: readonly Execution[],
): Promise<Set<string>> {
  const touched = new Set(executions.filter(({ assignedAtMs }) => assignedAtMs !== null).map(({ device }) => device));
  const made = await fleet.api.all<{ device: string; version: number }>(`/v1/predictions?model=${model}`);
  for (const one of made) if (one.version === version) touched.add(one.device);
  for (const { share } of fleet.agents) {
    const { models } = await fleet.api.get<{ models: { model: string; active?: { version: number } }[] }>(
      `/v1/devices/${share.device}`,
    );
    if (models.some((one) => one.model === model && one.active?.version === version)) touched.add(share.device);
  }
  return touched;
}
