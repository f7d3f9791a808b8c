import { Name } from "@bellwether/protocol/ids.ts";
import { err, ok, type Result } from "@bellwether/protocol/result.ts";
import { integer, oneOf } from "@bellwether/protocol/schema.ts";
import type { ConfirmRule } from "@bellwether/protocol/trust/director.ts";
import { type Static, Type } from "typebox";
import { GATE_NAMES } from "./gates.ts";

const FAILURE_TYPES = ["FAILED", "REJECTED", "TIMED_OUT", "ALL"] as const;
export type FailureType = (typeof FAILURE_TYPES)[number];

const closed = { additionalProperties: false } as const;
const Minutes = Type.Number({ minimum: 0, maximum: 525_600 });
/** hawkBit writes thresholds as text; what is not a number from 0 to 100 is refused here and never reaches a gate. */
const Threshold = Type.Object(
  { condition: Type.Literal("THRESHOLD"), expression: Type.String({ pattern: "^(100(\\.0+)?|\\d{1,2}(\\.\\d+)?)$" }) },
  closed,
);

const GateRequest = Type.Union([
  oneOf(GATE_NAMES),
  Type.Object(
    {
      name: oneOf(GATE_NAMES),
      threshold: Type.Optional(Type.Number({ exclusiveMinimum: 0 })),
      minSamples: Type.Optional(integer({ minimum: 1, maximum: 1_000_000 })),
    },
    closed,
  ),
]);

export const WaveRequest = Type.Object(
  {
    name: Name,
    /** Of the targets that remain after the earlier waves; the last wave takes all that remain. */
    targetPercentage: Type.Number({ exclusiveMinimum: 0, maximum: 100 }),
    soakMinutes: Type.Optional(Minutes),
    successCondition: Type.Optional(Threshold),
    successAction: Type.Optional(Type.Union([Type.Literal("NEXTGROUP"), Type.Literal("PAUSE")])),
    errorCondition: Type.Optional(Threshold),
    errorAction: Type.Optional(Type.Union([Type.Literal("PAUSE"), Type.Literal("REVERT")])),
    gates: Type.Optional(Type.Array(GateRequest, { maxItems: 8 })),
  },
  closed,
);
export type WaveRequest = Static<typeof WaveRequest>;

/** Body of `POST /v1/rollouts`. */
export const RolloutRequest = Type.Object(
  {
    model: Name,
    /** A version number, or an alias of the model. */
    version: Type.String({ pattern: "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$" }),
    target: Type.Object(
      {
        /** Label selector; the empty one is every device. */
        selector: Type.String({ maxLength: 1_000 }),
        /** SNAPSHOT: the devices that match now. CONTINUOUS: those that match later join, by a stable hash. */
        selection: Type.Optional(Type.Union([Type.Literal("SNAPSHOT"), Type.Literal("CONTINUOUS")])),
      },
      closed,
    ),
    waves: Type.Optional(Type.Array(WaveRequest, { minItems: 1, maxItems: 50 })),
    /** What every device must prove by itself before it counts as succeeded. */
    confirm: Type.Optional(
      Type.Object(
        {
          inferences: Type.Optional(integer({ minimum: 1, maximum: 1_000_000 })),
          soakSeconds: Type.Optional(Type.Number({ minimum: 0, maximum: 2_592_000 })),
          deadlineSeconds: Type.Optional(Type.Number({ minimum: 1, maximum: 2_592_000 })),
          errorFraction: Type.Optional(Type.Number({ minimum: 0, maximum: 1 })),
          /** Runs beside the model that serves first, on its rows and without any consequence. Absent: it does not. */
          shadow: Type.Optional(
            Type.Object(
              {
                inferences: Type.Optional(integer({ minimum: 1, maximum: 1_000_000 })),
                seconds: Type.Number({ minimum: 0, maximum: 2_592_000 }),
              },
              closed,
            ),
          ),
        },
        closed,
      ),
    ),
    rolloutConfig: Type.Optional(
      Type.Object({ maximumPerMinute: Type.Optional(integer({ minimum: 1, maximum: 100_000 })) }, closed),
    ),
    abortConfig: Type.Optional(
      Type.Object(
        {
          criteriaList: Type.Array(
            Type.Object(
              {
                action: Type.Union([Type.Literal("CANCEL"), Type.Literal("REVERT")]),
                failureType: oneOf(FAILURE_TYPES),
                minNumberOfExecutedThings: integer({ minimum: 1, maximum: 1_000_000 }),
                thresholdPercentage: Type.Number({ exclusiveMinimum: 0, maximum: 100 }),
              },
              closed,
            ),
            { minItems: 1, maxItems: 8 },
          ),
        },
        closed,
      ),
    ),
    timeoutConfig: Type.Optional(
      Type.Object({ inProgressTimeoutInMinutes: Type.Number({ exclusiveMinimum: 0, maximum: 525_600 }) }, closed),
    ),
    /** An offline device leaves the denominator after this long. */
    staleAfterMinutes: Type.Optional(Minutes),
    /** How long a gate may wait for its data before the wave is inconclusive. */
    gateTimeoutMinutes: Type.Optional(Minutes),
    requireApproval: Type.Optional(Type.Boolean()),
  },
  closed,
);
export type RolloutRequest = Static<typeof RolloutRequest>;

export interface GatePlan {
  readonly name: (typeof GATE_NAMES)[number];
  readonly threshold: number;
  readonly minSamples: number;
}

export interface WavePlan {
  readonly name: string;
  readonly targetFraction: number;
  readonly soakMs: number;
  readonly successFraction: number;
  readonly successAction: "NEXTGROUP" | "PAUSE";
  readonly errorFraction: number;
  readonly errorAction: "PAUSE" | "REVERT";
  readonly gates: readonly GatePlan[];
}

/** A request with every default filled in and every unit made milliseconds or fractions: what the machine runs on. */
export interface RolloutPlan {
  readonly model: string;
  readonly version: number;
  readonly manifestDigest: string;
  readonly selector: string;
  /** Of these sites only, because whoever planned it is limited to them; undefined is every site. */
  readonly sites?: readonly string[];
  readonly selection: "SNAPSHOT" | "CONTINUOUS";
  readonly waves: readonly WavePlan[];
  readonly confirm: ConfirmRule;
  readonly maximumPerMinute: number;
  readonly abort: readonly {
    readonly action: "CANCEL" | "REVERT";
    readonly failureType: FailureType;
    readonly minExecuted: number;
    readonly fraction: number;
  }[];
  readonly inProgressTimeoutMs: number;
  readonly staleAfterMs: number;
  readonly gateTimeoutMs: number;
  readonly requireApproval: boolean;
}

const MINUTE_MS = 60_000;
const DEFAULT_GATES = ["inference-errors", "latency", "score-shift"] as const;
/** Measured on good and worthless retrainings of the demo's plant, see docs/decisions. */
const DEFAULT_THRESHOLDS: Readonly<Record<(typeof GATE_NAMES)[number], number>> = {
  "inference-errors": 0.05,
  latency: 1,
  "alert-rate": 0.2,
  "score-shift": 0.5,
};
const DEFAULT_WAVES: readonly WaveRequest[] = [
  { name: "canary", targetPercentage: 5, soakMinutes: 60, errorAction: "REVERT" },
  { name: "early", targetPercentage: 25, soakMinutes: 60 },
  { name: "rest", targetPercentage: 100, soakMinutes: 10 },
];

/** Fills the defaults of a request for one released version. Contradictions inside the request are `INVALID_SHAPE`. */
export function planOf(
  request: RolloutRequest,
  version: number,
  manifestDigest: string,
  sites?: readonly string[],
): Result<RolloutPlan> {
  const waves = request.waves ?? DEFAULT_WAVES;
  const names = new Set(waves.map((wave) => wave.name));
  if (names.size !== waves.length) {
    return err("INVALID_SHAPE", { what: "The rollout", path: "/waves", expected: "every wave needs its own name" });
  }
  const confirm = request.confirm ?? {};
  const soakMs = (confirm.soakSeconds ?? 600) * 1000;
  const deadlineMs = (confirm.deadlineSeconds ?? Math.max(3600, (soakMs / 1000) * 3)) * 1000;
  if (deadlineMs <= soakMs) {
    return err("INVALID_SHAPE", {
      what: "The rollout",
      path: "/confirm/deadlineSeconds",
      expected: "must be longer than soakSeconds, or no device can ever succeed",
    });
  }
  const { shadow } = confirm;
  const shadowMs = shadow ? shadow.seconds * 1000 + deadlineMs : 0;
  return ok({
    model: request.model,
    version,
    manifestDigest,
    selector: request.target.selector,
    ...(sites ? { sites } : {}),
    selection: request.target.selection ?? "SNAPSHOT",
    waves: waves.map(wavePlan),
    confirm: {
      inferences: confirm.inferences ?? 20,
      soakMs,
      deadlineMs,
      errorFraction: confirm.errorFraction ?? 0.05,
      ...(shadow ? { shadow: { inferences: shadow.inferences ?? 20, durationMs: shadow.seconds * 1000 } } : {}),
    },
    maximumPerMinute: request.rolloutConfig?.maximumPerMinute ?? 1_000,
    abort: (request.abortConfig?.criteriaList ?? []).map((criterion) => ({
      action: criterion.action,
      failureType: criterion.failureType,
      minExecuted: criterion.minNumberOfExecutedThings,
      fraction: criterion.thresholdPercentage / 100,
    })),
    inProgressTimeoutMs:
      (request.timeoutConfig?.inProgressTimeoutInMinutes ?? (shadowMs + deadlineMs + 30 * MINUTE_MS) / MINUTE_MS) *
      MINUTE_MS,
    staleAfterMs: (request.staleAfterMinutes ?? 24 * 60) * MINUTE_MS,
    gateTimeoutMs: (request.gateTimeoutMinutes ?? 60) * MINUTE_MS,
    requireApproval: request.requireApproval ?? false,
  });
}

function wavePlan(wave: WaveRequest, index: number, all: readonly WaveRequest[]): WavePlan {
  return {
    name: wave.name,
    targetFraction: index === all.length - 1 ? 1 : wave.targetPercentage / 100,
    soakMs: (wave.soakMinutes ?? 60) * MINUTE_MS,
    successFraction: Number(wave.successCondition?.expression ?? "95") / 100,
    successAction: wave.successAction ?? "NEXTGROUP",
    errorFraction: Number(wave.errorCondition?.expression ?? "5") / 100,
    errorAction: wave.errorAction ?? "PAUSE",
    gates: (wave.gates ?? DEFAULT_GATES).map((gate) => {
      const { name, threshold, minSamples } =
        typeof gate === "string" ? { name: gate, threshold: undefined, minSamples: undefined } : gate;
      return { name, threshold: threshold ?? DEFAULT_THRESHOLDS[name], minSamples: minSamples ?? 30 };
    }),
  };
}
