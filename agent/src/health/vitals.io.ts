import type { StateMessage } from "@bellwether/protocol/messages/device.ts";
import type { PipelineFigures } from "../inference/pipeline.ts";
import type { Probes } from "./probes.io.ts";

/** The device's condition as a heartbeat carries it. */
export type Vitals = NonNullable<StateMessage["health"]>;

const EVERY_MS = 5_000;

/** Reads the device's condition in the background, so that a heartbeat never waits for a slow disk. */
export interface VitalsReader {
  /** The newest reading; undefined until the pipeline has told its figures once. */
  latest(): Vitals | undefined;
  stop(): void;
}

/** Starts reading. `figures` gives the pipeline's newest figures. */
export function readVitals(probes: Probes, stateDir: string, figures: () => PipelineFigures | undefined): VitalsReader {
  let cpuLoad = 0;
  let memoryUsedFraction = 0;
  let diskUsedFraction = 0;
  let temperatureC: number | undefined;
  let reading = false;

  async function read(): Promise<void> {
    // A statfs that hangs (a dead network mount) must not pile up.
    if (reading) return;
    reading = true;
    try {
      cpuLoad = (await probes.cpuLoad()) ?? cpuLoad;
      memoryUsedFraction = (await probes.memoryUsedFraction()) ?? memoryUsedFraction;
      diskUsedFraction = (await probes.diskUsedFraction(stateDir)) ?? diskUsedFraction;
      temperatureC = await probes.temperatureC();
    } finally {
      reading = false;
    }
  }

  void read();
  const timer = setInterval(() => void read(), EVERY_MS);
  timer.unref();
  return {
    latest() {
      const now = figures();
      if (now === undefined) return undefined;
      const { outbox, models, lastRowAtMs, disk } = now;
      const lastInferenceAtMs = Math.max(0, ...models.map(({ lastAtMs }) => lastAtMs ?? 0));
      return {
        rssMb: round(probes.rssMb()),
        cpuLoad: round(cpuLoad),
        memoryUsedFraction: round(memoryUsedFraction),
        diskUsedFraction: round(diskUsedFraction),
        ...(temperatureC === undefined ? {} : { temperatureC }),
        outboxBytes: outbox.bytes,
        outboxBytesMax: outbox.bytesMax,
        outboxPhase: outbox.phase,
        evictedRecords: outbox.evictedRecords,
        ...(disk === undefined ? {} : { disk }),
        ...(lastRowAtMs === undefined ? {} : { lastRowAtMs }),
        ...(lastInferenceAtMs === 0 ? {} : { lastInferenceAtMs }),
      };
    },
    stop: () => clearInterval(timer),
  };
}

function round(value: number): number {
  return Math.round(value * 1_000) / 1_000;
}
