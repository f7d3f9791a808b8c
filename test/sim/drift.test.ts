import { expect, test } from "vitest";
import { MONTH_WINDOWS, referenceOf, watch } from "./ar1.ts";

/*
 * The short mode of `node test/sim/drift-trial.ts`: a false-alarm rate stated for independent windows must hold for
 * autocorrelated ones, where the usual tests alarm all the time.
 */
test("alarms on quiet autocorrelated sensors stay near the stated rate, and half a sigma is found", () => {
  const phi = 0.9;
  const [fleets, months] = [3, 2];
  let alarms = 0;
  let stated = 0;
  let ks = 0;
  for (let fleet = 101; fleet < 101 + fleets; fleet += 1) {
    const reference = referenceOf(phi, fleet);
    stated = reference.drift.limit.falseAlarmsPerDeviceMonth * fleets * months;
    alarms += watch(reference, phi, 5_000 + fleet, months * MONTH_WINDOWS).episodes;
    ks += watch(reference, phi, 6_000 + fleet, 24, { peers: true }).ks / fleets;
    const { detectedAfter } = watch(reference, phi, 7_000 + fleet, 24 + 48, { shiftAt: 24, shift: 0.5 });
    expect(detectedAfter).toBeLessThanOrEqual(48);
  }
  // Poisson with the stated mean of 3: more than 9 come in one of a thousand runs.
  expect(alarms).toBeLessThanOrEqual(stated + 6);
  expect(ks).toBeGreaterThan(0.5);
});
