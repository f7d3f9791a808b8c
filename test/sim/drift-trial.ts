import { MONTH_WINDOWS, referenceOf, watch } from "./ar1.ts";

/*
 * How often the device's drift detector cries wolf, and how soon it finds a real shift, on autocorrelated sensors:
 * `node test/sim/drift-trial.ts [fleets] [months]`, in virtual time. KS and PSI judge the same streams beside it.
 */
const [fleets = 20, months = 6] = process.argv.slice(2).map(Number);
const SHIFT_AT = 48;

console.log(
  "  phi  limit  false alarms / device-month (stated)  0.5 sigma found  after windows (median)  KS<=.05  PSI>=.1",
);
for (const phi of [0, 0.9, 0.99]) {
  let alarms = 0;
  let ks = 0;
  let psi = 0;
  let limit = 0;
  const found: number[] = [];
  let stated = 0;
  for (let fleet = 1; fleet <= fleets; fleet += 1) {
    const reference = referenceOf(phi, fleet);
    stated = reference.drift.limit.falseAlarmsPerDeviceMonth;
    limit += reference.drift.limit.location / fleets;
    const quiet = watch(reference, phi, 1_000 + fleet, months * MONTH_WINDOWS);
    // The first 72 windows of the same stream: they cost far more.
    const peers = watch(reference, phi, 1_000 + fleet, 72, { peers: true });
    alarms += quiet.episodes;
    ks += peers.ks / fleets;
    psi += peers.psi / fleets;
    const shifted = watch(reference, phi, 3_000 + fleet, SHIFT_AT + 120, { shiftAt: SHIFT_AT, shift: 0.5 });
    if (shifted.detectedAfter !== undefined) found.push(shifted.detectedAfter);
  }
  const median = found.toSorted((a, b) => a - b)[found.length >> 1];
  console.log(
    [
      String(phi).padStart(5),
      limit.toFixed(1).padStart(6),
      `${(alarms / fleets / months).toFixed(2)} (${stated})`.padStart(38),
      `${found.length} of ${fleets}`.padStart(16),
      String(median ?? "-").padStart(23),
      `${(100 * ks).toFixed(0)} %`.padStart(8),
      `${(100 * psi).toFixed(0)} %`.padStart(8),
    ].join(" "),
  );
}
