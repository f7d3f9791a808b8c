import type { ProcessChange } from "../../config/config.ts";
import type { SignalName } from "../../config/signals.ts";
import type { Condition } from "./machine.ts";
import type { Reading } from "./signals.ts";

/** What is added to each signal when sensors were mounted elsewhere and the machine got another base. */
const OFFSET: Readonly<Partial<Record<SignalName, number>>> = {
  "vibration.de": 1.6,
  "vibration.nde": 1.2,
  "bearing.temperature": 14,
  "winding.temperature": 10,
};
/** Another make of accelerometer: every vibration reads so much more. */
const GAIN = 2.6;
const VIBRATIONS: ReadonlySet<string> = new Set(["vibration.de", "vibration.nde", "vibration.axial", "envelope.de"]);
/** What a failing lubrication adds at severity 1: friction, and nothing that the other modes show first. */
const LUBRICATION: Readonly<Partial<Record<SignalName, number>>> = {
  current: 9,
  "bearing.temperature": 26,
  "vibration.axial": 2.4,
};

/** Severity as the machine's own fault modes no longer show it: after a change to another lubricant only that one fails. */
export function changedCondition(condition: Condition, change: ProcessChange | undefined, index: number): Condition {
  if (change?.kind !== "fault" || index < change.fromRow) return condition;
  return { ...condition, severity: { bearing: 0, imbalance: 0, misalignment: 0, cooling: 0 } };
}

/** Readings after a change of the process; before it, and without one, they are as they are. */
export function changedReadings(
  readings: Record<SignalName, Reading>,
  { severity, speed }: Condition,
  change: ProcessChange | undefined,
  index: number,
): Record<SignalName, Reading> {
  if (change === undefined || index < change.fromRow) return readings;
  const worst = Math.max(...Object.values(severity));
  const changed: Readonly<Record<ProcessChange["kind"], (signal: SignalName, reading: Reading) => Reading>> = {
    offset: (signal, { value, sigma }) => ({ value: value + (OFFSET[signal] ?? 0), sigma }),
    gain: (signal, { value, sigma }) =>
      VIBRATIONS.has(signal) ? { value: value * GAIN, sigma: sigma * GAIN } : { value, sigma },
    fault: (signal, { value, sigma }) => ({ value: value + worst * speed * (LUBRICATION[signal] ?? 0), sigma }),
  };
  const entries = Object.entries(readings) as [SignalName, Reading][];
  return Object.fromEntries(
    entries.map(([signal, reading]) => [signal, changed[change.kind](signal, reading)]),
  ) as Record<SignalName, Reading>;
}
