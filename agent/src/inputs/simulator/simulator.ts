import { TIME_MS_MAX } from "@bellwether/protocol/ids.ts";
import type { TelemetryRow } from "@bellwether/protocol/messages/stream.ts";
import { unwrap } from "@bellwether/protocol/result.ts";
import { type Conversion, conversionOf } from "@bellwether/protocol/units.ts";
import type { SimulatorInputConfig, SimulatorPoint } from "../../config/config.ts";
import type { SignalName } from "../../config/signals.ts";
import { rowOf } from "../row.ts";
import { changedCondition, changedReadings } from "./change.ts";
import { type FaultMode, Machine, type Moment } from "./machine.ts";
import { gaussian } from "./random.ts";
import { isSpike, type SensorFault, sensorFaultAt } from "./sensor-faults.ts";
import { type Reading, readingsOf } from "./signals.ts";

/** What nobody on the wire is told of a row. */
export interface Truth {
  /** Rows left until the failure; 0 at the last row of a life. */
  readonly rul: number;
  readonly mode: FaultMode;
  readonly life: number;
  /** Channels whose sensor is at fault. */
  readonly sensorFaults: readonly { readonly channel: string; readonly kind: SensorFault }[];
}

/** The order fixes each signal's random stream: append only, or every plant changes. */
const SIGNAL_ORDER: readonly SignalName[] = [
  ...(["speed", "load", "vibration.de", "vibration.nde", "vibration.axial", "envelope.de", "crest.de"] as const),
  ...(["bearing.temperature", "winding.temperature", "ambient.temperature", "current", "service.hours"] as const),
];
/** Signals that come from a controller, not from a sensor that can fail alone. */
const COUNTED: ReadonlySet<SignalName> = new Set<SignalName>(["service.hours"]);
const NOISE_STREAM = 500;
/** Source time of row 0 where the configuration gives none and rows are written, not lived. */
export const DEFAULT_START_MS = Date.UTC(2026, 0, 1);

interface Channel {
  readonly point: SimulatorPoint;
  readonly signal: SignalName;
  readonly stream: number;
  readonly conversion: Conversion;
}

/** The machines of one simulator input; `signals` is the table of config/signals.ts. Every method is a pure function of its arguments and the configuration. */
export class Simulator {
  readonly #config: SimulatorInputConfig;
  readonly #assets = new Map<string, { machine: Machine; channels: Channel[] }>();

  constructor(config: SimulatorInputConfig, signals: Readonly<Record<SignalName, { readonly unit: string }>>) {
    this.#config = config;
    for (const asset of config.assets) {
      const machine = new Machine(config.seed, asset, config.machines);
      this.#assets.set(asset, { machine, channels: [] });
    }
    for (const point of config.points) {
      const signal = point.source as SignalName;
      const stream = SIGNAL_ORDER.indexOf(signal);
      // Configurations are checked: an unknown signal or asset here is a broken invariant.
      if (stream < 0) throw new Error(`no signal ${point.source}`);
      const conversion = unwrap(conversionOf(signals[signal].unit, point.unit));
      this.#assets.get(point.asset)!.channels.push({ point, signal, stream, conversion });
    }
  }

  get assets(): readonly string[] {
    return this.#config.assets;
  }

  machine(asset: string): Machine {
    return this.#assets.get(asset)!.machine;
  }

  /** The first index whose source time no message can carry. */
  get timeEnd(): number {
    return Math.floor((TIME_MS_MAX - this.timeAt(0)) / this.#config.stepMs) + 1;
  }

  /** Source time of a row. */
  timeAt(index: number): number {
    return (this.#config.startMs ?? DEFAULT_START_MS) + index * this.#config.stepMs;
  }

  /** The row an agent sends for this asset and index. */
  row(asset: string, index: number, observedAtMs = this.timeAt(index)): TelemetryRow {
    const { machine, channels } = this.#assets.get(asset)!;
    const readings = this.#readingsAt(machine, index);
    return rowOf(
      asset,
      observedAtMs,
      channels.map((channel) => {
        const value = this.#sensed(machine, channel, index, readings);
        const { same, scale, offset } = channel.conversion;
        return [channel.point, value === undefined || same ? value : value * scale + offset] as const;
      }),
    );
  }

  truth(asset: string, index: number): Truth {
    const { machine, channels } = this.#assets.get(asset)!;
    const moment = machine.momentAt(index);
    const sensorFaults = channels.flatMap(({ point, signal, stream }) => {
      const fault = this.#faultAt(machine, signal, stream, index);
      return fault === undefined ? [] : [{ channel: point.channel, kind: fault.kind }];
    });
    return { rul: moment.rul, mode: moment.life.mode, life: moment.life.number, sensorFaults };
  }

  #readingsAt(machine: Machine, index: number): Record<SignalName, Reading> {
    const moment: Moment = machine.momentAt(index);
    const { change } = this.#config.machines;
    const worn = machine.conditionAt(index, moment);
    const readings = readingsOf(machine.make, changedCondition(worn, change, index), moment.age);
    return changedReadings(readings, worn, change, index);
  }

  #faultAt(machine: Machine, signal: SignalName, stream: number, index: number) {
    if (COUNTED.has(signal)) return undefined;
    return sensorFaultAt(machine.key, stream, index, this.#config.machines.sensorFaults);
  }

  #sensed(
    machine: Machine,
    { signal, stream }: Channel,
    index: number,
    readings: Record<SignalName, Reading>,
  ): number | undefined {
    const plain = (at: number, { value, sigma }: Reading) => {
      const noisy = value + this.#config.machines.noise * sigma * gaussian(machine.key, NOISE_STREAM + stream, at);
      // Amplitudes, speeds and currents have no sign; temperatures do.
      return signal.endsWith("temperature") ? noisy : Math.max(0, noisy);
    };
    const now = plain(index, readings[signal]);
    const fault = this.#faultAt(machine, signal, stream, index);
    if (fault === undefined) return now;
    if (fault.kind === "dropout") return undefined;
    if (fault.kind === "stuck") return plain(fault.from, this.#readingsAt(machine, fault.from)[signal]);
    if (fault.kind === "drift") return now * (1 + 0.02 * (index - fault.from + 1));
    return isSpike(machine.key, stream, index, fault) ? now * 3 + 10 : now;
  }
}
