/** One signal of the simulated machine as a sensor on it would be declared. */
export interface SignalSpec {
  readonly unit: string;
  readonly resolution: number;
  readonly range: readonly [number, number];
  readonly summary: string;
}

/** What the simulated machines measure; agent/src/inputs/simulator computes them, docs/SIMULATOR.md explains them. */
export const SIGNALS = {
  speed: { unit: "/min", resolution: 1, range: [0, 4_000], summary: "shaft speed" },
  load: { unit: "%", resolution: 0.1, range: [0, 130], summary: "load of the driven machine" },
  "vibration.de": { unit: "mm/s", resolution: 0.01, range: [0, 50], summary: "velocity rms, drive end, 10 Hz - 1 kHz" },
  "vibration.nde": { unit: "mm/s", resolution: 0.01, range: [0, 50], summary: "velocity rms, non-drive end" },
  "vibration.axial": { unit: "mm/s", resolution: 0.01, range: [0, 50], summary: "velocity rms along the shaft" },
  "envelope.de": {
    unit: "[g]",
    resolution: 0.001,
    range: [0, 20],
    summary: "rms of the acceleration envelope, drive end",
  },
  "crest.de": { unit: "1", resolution: 0.01, range: [1, 50], summary: "crest factor of the acceleration, drive end" },
  "bearing.temperature": { unit: "Cel", resolution: 0.1, range: [-40, 150], summary: "drive-end bearing housing" },
  "winding.temperature": { unit: "Cel", resolution: 0.1, range: [-40, 200], summary: "motor winding" },
  "ambient.temperature": { unit: "Cel", resolution: 0.1, range: [-40, 60], summary: "air around the machine" },
  current: { unit: "A", resolution: 0.01, range: [0, 200], summary: "motor current" },
  "service.hours": {
    unit: "h",
    resolution: 1,
    range: [0, 100_000],
    summary: "hours since the last overhaul (one a row)",
  },
} as const satisfies Readonly<Record<string, SignalSpec>>;

export type SignalName = keyof typeof SIGNALS;
