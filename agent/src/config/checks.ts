import { nearest } from "@bellwether/protocol/text.ts";
import { conversionOf } from "@bellwether/protocol/units.ts";
import { bindingsOf } from "./bindings.ts";
import {
  type AgentConfig,
  HOST_UNITS,
  type InputConfig,
  type PointConfig,
  type SimulatorInputConfig,
} from "./config.ts";
import type { Reading } from "./reading.ts";
import { SIGNALS, type SignalName } from "./signals.ts";

/** A packet is at most 64 KB after login; topic, envelope, clocks and the birth's facts take their part of it. */
const PACKET_BYTES_MAX = 65_536;
const BIRTH_ENVELOPE_BYTES = 14_336;
const BATCH_ENVELOPE_BYTES = 2_048;
/** A number as JSON is at most 25 characters, with its brackets and comma. */
const CELL_BYTES = 28;

/** Finds what is wrong between the members of a configuration whose shape is right. */
export function checkConfig(config: AgentConfig, reading: Reading): void {
  checkAssets(config, reading);
  const known = new Set(config.assets.map(({ id }) => id));
  const inputs = new Set<string>();
  config.inputs.forEach((input, i) => {
    const key = `inputs[${i}]`;
    once(inputs, input.id, `${key}.id`, "unique among the inputs", reading);
    checkInput(input, key, known, reading);
  });
  checkChannels(config, reading);
  checkModels(config, known, reading);
}

function once(seen: Set<string>, value: string, key: string, expected: string, reading: Reading): void {
  if (seen.has(value)) reading.fault("CONFIG_TWICE", key, { expected, found: JSON.stringify(value) });
  seen.add(value);
}

function checkAssets(config: AgentConfig, reading: Reading): void {
  const seen = new Set<string>();
  config.assets.forEach(({ id }, i) => {
    once(seen, id, `assets[${i}].id`, "unique among the assets", reading);
  });
}

function checkAsset(asset: string, key: string, known: ReadonlySet<string>, reading: Reading): void {
  if (known.has(asset)) return;
  const close = nearest(asset, [...known]);
  reading.fault("CONFIG_REFERENCE", key, {
    expected: "an asset listed under assets",
    found: `the asset "${asset}"`,
    hint: close === undefined ? "" : ` (did you mean "${close}"?)`,
  });
}

function checkInput(input: InputConfig, key: string, known: ReadonlySet<string>, reading: Reading): void {
  const names = new Set<string>();
  const judged = new Set<string>();
  const checkOnce = (asset: string, at: string) => {
    // A simulator without points has twelve per asset: one unknown asset is one fault.
    if (!judged.has(asset)) checkAsset(asset, at, known, reading);
    judged.add(asset);
  };
  if (input.type === "simulator") {
    input.assets.forEach((asset, i) => {
      checkOnce(asset, `${key}.assets[${i}]`);
    });
  }
  if (input.type === "replay" && input.asset !== undefined) checkOnce(input.asset, `${key}.asset`);
  input.points.forEach((point, i) => {
    const at = `${key}.points[${i}]`;
    const scope = point.asset === undefined ? "" : `${point.asset} `;
    once(names, scope + point.name, `${at}.name`, "unique within its input and asset", reading);
    if (point.asset !== undefined) checkOnce(point.asset, `${at}.asset`);
    checkGrid(point, at, reading);
    if (input.type === "simulator") checkMachine(input, i, at, reading);
    if (input.type === "host") checkUnit(HOST_UNITS[input.points[i]!.source], point.unit, at, reading);
  });
  if (input.type === "simulator") {
    const [low, high] = input.machines.lifeRows;
    if (!Number.isInteger(low) || !Number.isInteger(high) || low < 20 || high > 1_000_000) {
      reading.fault("CONFIG_WRONG", `${key}.machines.lifeRows`, {
        expected: "two integers from 20 to 1000000",
        found: `[${low}, ${high}]`,
      });
    }
    if (input.assets.length === 0)
      reading.fault("CONFIG_MISSING", "assets", { expected: "a simulator needs an asset" });
  }
}

function checkGrid({ range, resolution }: PointConfig, at: string, reading: Reading): void {
  if (range === undefined || resolution === undefined || resolution < range[1] - range[0]) return;
  const expected = "smaller than the width of the range";
  reading.fault("CONFIG_WRONG", `${at}.resolution`, { expected, found: String(resolution) });
}

function checkMachine(input: SimulatorInputConfig, i: number, at: string, reading: Reading): void {
  const point = input.points[i]!;
  checkSignal(point, at, reading);
  if (input.assets.includes(point.asset)) return;
  const expected = "one of the input's own assets";
  reading.fault("CONFIG_REFERENCE", `${at}.asset`, { expected, found: `the asset "${point.asset}"` });
}

function checkSignal(point: { source: string; unit: string }, at: string, reading: Reading): void {
  if (!Object.hasOwn(SIGNALS, point.source)) {
    const close = nearest(point.source, Object.keys(SIGNALS));
    reading.fault("CONFIG_REFERENCE", `${at}.source`, {
      expected: `one of ${Object.keys(SIGNALS).join(", ")} (without source, the channel's name)`,
      found: `the signal "${point.source}"`,
      hint: close === undefined ? "" : ` (did you mean "${close}"?)`,
    });
    return;
  }
  checkUnit(SIGNALS[point.source as SignalName].unit, point.unit, at, reading);
}

function checkUnit(read: string, wanted: string, at: string, reading: Reading): void {
  if (conversionOf(read, wanted).ok) return;
  reading.fault("CONFIG_WRONG", `${at}.unit`, { expected: `a unit that ${read} converts to`, found: wanted });
}

/** Where the rows name their asset, it may be any: such points stand for one more, unknown asset. */
const ANY_ASSET = "";

/** Channels of each asset, over all inputs. */
export function channelsOf(config: AgentConfig): Map<string, Map<string, PointConfig>> {
  const assets = new Map<string, Map<string, PointConfig>>();
  for (const input of config.inputs) {
    for (const point of input.points) {
      const asset = point.asset ?? ANY_ASSET;
      const channels = assets.get(asset) ?? new Map<string, PointConfig>();
      assets.set(asset, channels.set(point.channel, point));
    }
  }
  return assets;
}

function checkChannels(config: AgentConfig, reading: Reading): void {
  const seen = new Set<string>();
  config.inputs.forEach((input, i) => {
    const own = new Set<string>();
    input.points.forEach((point, j) => {
      const id = `${point.asset ?? `(any of ${input.id})`}.${point.channel}`;
      if (own.has(id) || seen.has(id)) {
        const expected = "fed by one point only";
        reading.fault("CONFIG_TWICE", `inputs[${i}].points[${j}].channel`, { expected, found: id });
      }
      own.add(id);
    });
    for (const id of own) seen.add(id);
  });
  for (const [asset, channels] of channelsOf(config)) checkFits(asset, [...channels.values()], config, reading);
}

function checkFits(asset: string, points: readonly PointConfig[], config: AgentConfig, reading: Reading): void {
  const birth = points.map(({ channel, unit, resolution, range }) => ({ channel, unit, resolution, range }));
  const bindings = bindingsOf(config.models, asset);
  const birthBytes = JSON.stringify([birth, bindings]).length + BIRTH_ENVELOPE_BYTES;
  const rowBytes = points.reduce(
    (sum, { channel }) => sum + 2 * channel.length + CELL_BYTES + 16,
    BATCH_ENVELOPE_BYTES,
  );
  const largest = Math.max(birthBytes, rowBytes);
  if (points.length <= 1_024 && largest <= PACKET_BYTES_MAX) return;
  const index = config.assets.findIndex(({ id }) => id === asset);
  const inputIndex = config.inputs.findIndex((input) => input.points.some((point) => (point.asset ?? "") === asset));
  reading.fault("CONFIG_TOO_LARGE", index >= 0 ? `assets[${index}].id` : `inputs[${inputIndex}].points`, {
    expected: `at most 1024 channels and ${PACKET_BYTES_MAX} bytes`,
    found: `${points.length} channels of an asset make a message of up to ${largest} bytes`,
  });
}

function checkModels(config: AgentConfig, known: ReadonlySet<string>, reading: Reading): void {
  const assets = channelsOf(config);
  const open = assets.has(ANY_ASSET);
  const channels = new Set([...assets.values()].flatMap((points) => [...points.keys()]));
  const models = new Set<string>();
  config.models.forEach((binding, i) => {
    const key = `models[${i}]`;
    once(models, binding.model, `${key}.model`, "bound once", reading);
    binding.assets?.forEach((asset, j) => {
      if (!open) checkAsset(asset, `${key}.assets[${j}]`, known, reading);
    });
    for (const [modelChannel, channel] of Object.entries(binding.channels)) {
      if (channels.has(channel)) continue;
      const close = nearest(channel, [...channels]);
      reading.fault("CONFIG_REFERENCE", `${key}.channels.${modelChannel}`, {
        expected: "a channel that an input feeds",
        found: `the channel "${channel}"`,
        hint: close === undefined ? "" : ` (did you mean "${close}"?)`,
      });
    }
  });
}
