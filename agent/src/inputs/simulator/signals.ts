import type { SignalName } from "../../config/signals.ts";
import type { Condition, Make } from "./machine.ts";

/** A reading before the sensor adds its own: exact value, and the standard deviation of the sensor's noise on it. */
export interface Reading {
  readonly value: number;
  readonly sigma: number;
}

/**
 * What the sensors of a machine see. Unbalance forces grow with the square of speed; misalignment shows along the
 * shaft and with torque; a bearing defect shows in the envelope first, in the crest factor while it is small, and in
 * velocity last; friction and blocked cooling show as heat (ISO 20816-1, ISO 13373-2, ISO 15243).
 */
export function readingsOf(make: Make, condition: Condition, ageHours: number): Record<SignalName, Reading> {
  const { speed, load, heat, ambientC, severity } = condition;
  const { bearing, imbalance, misalignment, cooling } = severity;
  const unbalance = make.imbalance * (1 + 4 * imbalance) * speed ** 2;
  const offset = make.misalignment * (1 + 4 * misalignment) * speed * (0.5 + 0.5 * load);
  const wear = make.bearing * (1 + 6 * bearing) * speed * (0.7 + 0.3 * load);
  const friction = make.thermal * (0.5 + 0.5 * heat) * speed;
  const de = Math.hypot(unbalance, 0.6 * offset, wear);
  const nde = Math.hypot(0.8 * unbalance, 0.4 * offset, 0.45 * wear);
  const axial = Math.hypot(0.25 * unbalance, 1.3 * offset, 0.3 * wear);
  const envelope = make.envelope * (1 + 7 * bearing) * speed ** 1.5 * (0.7 + 0.3 * load);
  // Impulses stand out while a spall is small, and drown in broadband noise as it spreads.
  const crest = 3.4 + 9 * bearing * Math.exp(-2.2 * bearing);
  const bearingC = ambientC + friction * 26 * (1 + 0.7 * bearing + 0.35 * misalignment + 0.9 * cooling);
  const windingC = ambientC + make.thermal * 52 * (0.25 + 0.75 * heat ** 2) * (1 + 0.9 * cooling);
  const current = make.current * (0.35 + 0.65 * load) * (1 + 0.05 * bearing + 0.03 * misalignment);
  return {
    speed: { value: make.speedRpm * speed * (1 - 0.008 * load), sigma: 2 },
    load: { value: 100 * load, sigma: 0.8 },
    "vibration.de": { value: de, sigma: 0.04 * de + 0.02 },
    "vibration.nde": { value: nde, sigma: 0.04 * nde + 0.02 },
    "vibration.axial": { value: axial, sigma: 0.04 * axial + 0.02 },
    "envelope.de": { value: envelope, sigma: 0.05 * envelope + 0.004 },
    "crest.de": { value: crest, sigma: 0.25 },
    "bearing.temperature": { value: bearingC, sigma: 0.4 },
    "winding.temperature": { value: windingC, sigma: 0.5 },
    "ambient.temperature": { value: ambientC, sigma: 0.3 },
    current: { value: current, sigma: 0.25 },
    "service.hours": { value: ageHours, sigma: 0 },
  };
}
