import { moveOf } from "@bellwether/protocol/drift/charts.ts";
import { integer, oneOf } from "@bellwether/protocol/schema.ts";
import { type Static, Type } from "typebox";
import type { CohortEvidence, FeatureShift } from "./cohort.ts";
import type { JudgedWindow } from "./windows.ts";

/**
 * What is said of a cohort. waiting: too few devices are past their baseline; drifted: the process changed for most
 * devices; single: one machine stands out alone, so look at its sensor first; quality: the data themselves are wrong.
 */
export const COHORT_PHASES = ["waiting", "stable", "drifted", "single", "quality"] as const;
export type CohortPhase = (typeof COHORT_PHASES)[number];

const closed = { additionalProperties: false } as const;
const Names = Type.Array(Type.String());

/** A cohort's verdict under one model, as it is kept and shown. */
export const CohortVerdict = Type.Object(
  {
    cohort: Type.String(),
    model: Type.String(),
    reference: Type.String({ description: "Digest of the reference it is held against." }),
    phase: oneOf(COHORT_PHASES),
    text: Type.String({ description: "The verdict in a sentence." }),
    /** What the newest windows say, and how often in a row: a phase is left only on several. */
    found: oneOf(COHORT_PHASES),
    foundTimes: integer(),
    foundToMs: integer(),
    /** When the phase was entered, by the server's clock, and the source time of the newest row behind it then. */
    enteredAtMs: integer(),
    enteredToMs: integer(),
    judgedAtMs: integer(),
    toMs: integer({ description: "Source time of the newest rows behind this, the middle one of all assets." }),
    /** Source time since when the shift is seen; null where nothing shifted. */
    sinceMs: Type.Union([integer(), Type.Null()]),
    devices: Names,
    assets: Names,
    warming: Names,
    /** Features that stand out, strongest first. */
    features: Type.Array(
      Type.Object(
        {
          feature: Type.String(),
          shift: Type.Number({ description: "In spreads of the feature." }),
          t: Type.Number(),
          freedom: Type.Number(),
          p: Type.Number(),
          pWithoutOne: Type.Number(),
          devices: Names,
          supported: Names,
          stands: Type.Boolean(),
        },
        closed,
      ),
    ),
    quality: Type.Array(
      Type.Object(
        {
          device: Type.String(),
          asset: Type.String(),
          channel: Type.String(),
          kind: Type.String(),
          text: Type.String(),
        },
        closed,
      ),
    ),
  },
  closed,
);
export type CohortVerdict = Static<typeof CohortVerdict>;

/** Findings in a row that a phase is entered on: one lucky window calls nothing, and one quiet one ends nothing. */
const ENTERED_ON: Readonly<Record<CohortPhase, number>> = { waiting: 3, stable: 3, drifted: 2, single: 2, quality: 2 };

function enteredOn(from: CohortPhase, to: CohortPhase): number {
  return from === "waiting" && to === "stable" ? 1 : ENTERED_ON[to];
}

const FEATURES_SHOWN = 12;
const QUALITY_SHOWN = 32;

export interface Judgement {
  readonly cohort: string;
  readonly model: string;
  readonly reference: string;
  readonly evidence: CohortEvidence;
  /** Newest windows by asset. */
  readonly assets: readonly (readonly JudgedWindow[])[];
  /** Channel a feature is made of. */
  readonly channelOf: (feature: string) => string | undefined;
  readonly devicesMin: number;
  /** Source time a window spans. */
  readonly windowMs: number;
  readonly nowMs: number;
}

/** The next verdict of a cohort under one reference, from the one before and what its newest windows say. */
export function nextVerdict(known: CohortVerdict | undefined, judgement: Judgement): CohortVerdict {
  const { cohort, model, reference, evidence, nowMs } = judgement;
  const finding = findingOf(judgement);
  const from = known?.phase ?? "waiting";
  // Looking twice at the same windows finds nothing new: only a further window counts.
  const same = known !== undefined && known.found === finding.phase ? known : undefined;
  const isFurther = same === undefined || evidence.toMs - same.foundToMs >= judgement.windowMs;
  const foundTimes = (same?.foundTimes ?? 0) + (isFurther ? 1 : 0);
  const enters = from !== finding.phase && foundTimes >= enteredOn(from, finding.phase);
  const phase = enters ? finding.phase : from;
  const says = phase === finding.phase ? finding : undefined;
  return {
    cohort,
    model,
    reference,
    phase,
    text: says?.text ?? (phase === "waiting" || !known ? undecidedText(judgement, finding) : known.text),
    found: finding.phase,
    foundTimes,
    foundToMs: isFurther ? evidence.toMs : same.foundToMs,
    enteredAtMs: enters || !known ? nowMs : known.enteredAtMs,
    enteredToMs: enters || !known ? evidence.toMs : known.enteredToMs,
    judgedAtMs: nowMs,
    toMs: evidence.toMs,
    sinceMs: says ? says.sinceMs : (known?.sinceMs ?? null),
    devices: [...evidence.devices],
    assets: [...evidence.assets],
    warming: [...evidence.warming],
    features: shown(evidence),
    quality: qualityOf(judgement.assets).slice(0, QUALITY_SHOWN),
  };
}

function shown({ features }: CohortEvidence): CohortVerdict["features"] {
  return features
    .toSorted((a, b) => Number(b.stands) - Number(a.stands) || Math.abs(b.t) - Math.abs(a.t))
    .slice(0, FEATURES_SHOWN)
    .map((feature) => ({ ...feature, devices: [...feature.devices], supported: [...feature.supported] }));
}

function qualityOf(assets: readonly (readonly JudgedWindow[])[]): CohortVerdict["quality"] {
  return assets.flatMap((windows) => {
    const newest = windows.at(-1);
    if (newest === undefined) return [];
    const { device, asset, quality } = newest;
    return quality.map(({ channel, kind, text }) => ({ device, asset, channel, kind, text }));
  });
}

interface Finding {
  readonly phase: CohortPhase;
  readonly text: string;
  readonly sinceMs: number | null;
}

function findingOf(judgement: Judgement): Finding {
  const { evidence, assets, channelOf, devicesMin, cohort } = judgement;
  const standing = evidence.features.filter(({ stands }) => stands).toSorted((a, b) => Math.abs(b.t) - Math.abs(a.t));
  if (standing.length > 0) {
    const spoilt = spoiltBy(standing, assets, channelOf);
    if (spoilt !== undefined) return { phase: "quality", text: spoilt, sinceMs: null };
    const sinceMs = sinceOf(standing[0]!, assets);
    return { phase: "drifted", text: driftedText(standing, evidence, cohort, sinceMs), sinceMs };
  }
  const alone = aloneIn(assets, evidence);
  if (alone !== undefined) return { phase: "single", ...alone };
  if (evidence.devices.length < devicesMin) return { phase: "waiting", text: waitingText(judgement), sinceMs: null };
  return { phase: "stable", text: stableText(evidence, cohort), sinceMs: null };
}

/** Data faults in a channel behind the shift, on most of the devices that shifted: then nothing is known of the process. */
function spoiltBy(
  standing: readonly FeatureShift[],
  assets: readonly (readonly JudgedWindow[])[],
  channelOf: (feature: string) => string | undefined,
): string | undefined {
  const faults = qualityOf(assets);
  for (const { feature, devices } of standing) {
    const channel = channelOf(feature);
    const own = faults.filter((fault) => fault.channel === channel && devices.includes(fault.device));
    const touched = new Set(own.map(({ device }) => device)).size;
    if (touched * 2 > devices.length) {
      return `${feature} moved on ${devices.length} devices, but their data are wrong: ${own[0]!.text}; mend that first`;
    }
  }
  return undefined;
}

/** Newest windows, and distance in units of a chart, by which an asset stands out now and not just once. */
const ALONE_WINDOWS = 4;
const ALONE_DISTANCE = 2;

/** One device whose charts call drift, and which still stands out, while nobody else's do. */
function aloneIn(
  assets: readonly (readonly JudgedWindow[])[],
  { devices, features }: CohortEvidence,
): { text: string; sinceMs: number } | undefined {
  const standing = assets.flatMap((windows) => {
    const newest = windows.at(-1)!;
    const verdict = newest.verdicts.find(({ kind }) => kind === "mean");
    if (newest.phase !== "drifted" || verdict === undefined) return [];
    const f = features.findIndex(({ feature }) => feature === verdict.feature);
    const distances = windows.slice(-ALONE_WINDOWS).map((window) => window.distances?.[f] ?? 0);
    const mean = distances.reduce((sum, distance) => sum + distance, 0) / distances.length;
    const outward = verdict.direction === "up" ? mean : -mean;
    return outward >= ALONE_DISTANCE ? [{ newest, verdict }] : [];
  });
  const first = standing[0];
  const on = new Set(standing.map(({ newest }) => newest.device));
  if (on.size !== 1 || devices.length < 2 || first === undefined) return undefined;
  const { newest, verdict } = first;
  const others = devices.filter((device) => device !== newest.device).length;
  const text = `${verdict.feature} ${moveOf(verdict)} on ${newest.asset} of ${newest.device} alone since ${clock(verdict.sinceMs)}; ${others} other devices stand: look at its sensors first`;
  return { text, sinceMs: verdict.sinceMs };
}

/** Middle of when the devices' own charts left their rest; the oldest window that is compared where none did. */
function sinceOf({ feature, shift }: FeatureShift, assets: readonly (readonly JudgedWindow[])[]): number {
  const side = shift > 0 ? "up" : "down";
  const own = assets
    .flatMap((windows) => windows.at(-1)!.verdicts)
    .filter((verdict) => verdict.kind === "mean" && verdict.feature === feature && verdict.direction === side)
    .map(({ sinceMs }) => sinceMs)
    .toSorted((a, b) => a - b);
  return own[own.length >> 1] ?? Math.min(...assets.map(([first]) => first!.fromMs));
}

function driftedText(
  standing: readonly FeatureShift[],
  { devices, assets }: CohortEvidence,
  cohort: string,
  sinceMs: number,
): string {
  const [first, ...others] = standing as [FeatureShift, ...FeatureShift[]];
  const move = `${first.feature} ${first.shift > 0 ? "up" : "down"} ${Math.abs(first.shift).toFixed(1)} sigma`;
  const also = others.length === 0 ? "" : `, and ${others.length} more features`;
  return `${move} on ${first.devices.length} of ${devices.length} devices (${assets.length} assets) of cohort ${cohort} since ${clock(sinceMs)}${also}; not wear: assets are compared at equal predicted health, with their own baseline`;
}

function stableText({ devices, assets }: CohortEvidence, cohort: string): string {
  return `nothing moved on ${devices.length} devices (${assets.length} assets) of cohort ${cohort} beyond what is usual between them`;
}

function waitingText({ evidence, cohort, devicesMin }: Judgement): string {
  const { devices, warming } = evidence;
  return `${devices.length} devices of cohort ${cohort} have enough windows after their baseline, ${devicesMin} are needed; ${warming.length} assets are on their way`;
}

/** Of a cohort whose devices are enough, but whose newest windows alone call nothing yet. */
function undecidedText({ evidence, cohort }: Judgement, { phase }: Finding): string {
  return `${evidence.devices.length} devices of cohort ${cohort} have enough windows; a first look says ${phase}, and one more decides`;
}

/** A source time as people read it. */
function clock(atMs: number): string {
  return `${new Date(Math.min(8.64e15, Math.max(0, atMs))).toISOString().slice(0, 16).replace("T", " ")} UTC`;
}
