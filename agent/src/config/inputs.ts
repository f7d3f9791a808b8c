import { CMAPSS_CHANNELS } from "@bellwether/protocol/cmapss.ts";
import {
  HOST_SOURCES,
  type HostInputConfig,
  type InputConfig,
  type MqttInputConfig,
  PROCESS_CHANGES,
  type ReplayInputConfig,
  type ReplayPoint,
  type SimulatorInputConfig,
  type SimulatorPoint,
} from "./config.ts";
import {
  boolean,
  integer,
  isoTime,
  list,
  name,
  number,
  object,
  oneOf,
  optional,
  positive,
  type Read,
  type Reading,
  range,
  required,
  tagged,
  text,
  unit,
  withDefault,
} from "./reading.ts";
import { SIGNALS, type SignalName } from "./signals.ts";

const POINTS_MAX = 10_000;
const DAY_MS = 86_400_000;
const stepMs = integer(1, 366 * DAY_MS);
const rowsPerSecond = number(0, 1_000_000);
const pointBase = {
  name: required(name),
  channel: required(name),
  unit: required(unit),
  resolution: optional(positive),
  range: optional(range),
};
const pointer = text('a JSON pointer such as "/value"', 256, (v) => /^(\/([^~/]|~[01])*)*$/.test(v));
const signalNames = Object.keys(SIGNALS) as SignalName[];

/** Drops members that are undefined: with exactOptionalPropertyTypes an absent key is not an undefined one. */
function present<T extends object>(whole: T): T {
  return Object.fromEntries(Object.entries(whole).filter(([, value]) => value !== undefined)) as T;
}

/** Reads one input. `assets` are the configuration's own, for a simulator that names none. */
export function inputReader(assets: readonly string[]): Read<InputConfig> {
  return tagged<InputConfig>("type", {
    simulator: then(simulatorShape, (shape) => simulatorInput(shape, assets)),
    replay: then(replayShape, replayInput),
    mqtt: then(mqttShape, mqttInput),
    host: then(hostShape, hostInput),
  });
}

function then<A, B>(read: Read<A>, next: (value: A, reading: Reading, key: string) => B | undefined): Read<B> {
  return (reading, node, key) => {
    const value = read(reading, node, key);
    return value === undefined ? undefined : next(value, reading, key);
  };
}

type Shape<R> = R extends Read<infer T> ? T : never;
const type = required(oneOf(["simulator", "replay", "mqtt", "host"]));

const simulatorShape = object({
  id: required(name),
  type,
  seed: withDefault(integer(0, Number.MAX_SAFE_INTEGER), 1),
  stepMs: withDefault(stepMs, 60_000),
  start: optional(isoTime),
  rowsPerSecond: withDefault(rowsPerSecond, 1),
  from: withDefault(integer(0, 1e9), 0),
  rows: optional(integer(1, 1e9)),
  assets: optional(list(name, 1_000, 1)),
  machines: optional(
    object({
      lifeRows: optional(range),
      stagger: optional(number(0, 0.9)),
      noise: optional(number(0, 10)),
      sensorFaults: optional(number(0, 1_000)),
      regimes: optional(boolean),
      change: optional(object({ kind: required(oneOf(PROCESS_CHANGES)), fromRow: required(integer(0, 1e9)) })),
    }),
  ),
  points: optional(
    list(
      object({ ...pointBase, unit: optional(unit), asset: required(name), source: optional(oneOf(signalNames)) }),
      POINTS_MAX,
      1,
    ),
  ),
});

/** Knobs of the simulated machines where the configuration says nothing. */
export const MACHINES_DEFAULT = {
  lifeRows: [120, 300],
  stagger: 0.35,
  noise: 1,
  sensorFaults: 2,
  regimes: true,
} as const;

/** Every signal of every asset, as channels of the same name. */
export function impliedPoints(assets: readonly string[]): SimulatorPoint[] {
  return assets.flatMap((asset) =>
    signalNames.map((source) => {
      const { unit, resolution, range } = SIGNALS[source];
      return { name: source, asset, channel: source, source, unit, resolution, range };
    }),
  );
}

function simulatorInput(
  shape: Shape<typeof simulatorShape>,
  allAssets: readonly string[],
): SimulatorInputConfig | undefined {
  const { start, machines = {}, points, ...rest } = shape;
  const assets = rest.assets ?? (points ? [...new Set(points.map(({ asset }) => asset))] : allAssets);
  return present({
    ...rest,
    type: "simulator" as const,
    ...(start === undefined ? {} : { startMs: start }),
    assets,
    machines: { ...MACHINES_DEFAULT, ...present(machines) },
    points: points?.map((point) => simulatorPoint(point)) ?? impliedPoints(assets),
  });
}

type SimulatorPointShape = NonNullable<Shape<typeof simulatorShape>["points"]>[number];

/** The channel's own name tells the signal where `source` does not; checks.ts refuses a channel that names none. */
function simulatorPoint(point: SimulatorPointShape): SimulatorPoint {
  const source = point.source ?? point.channel;
  const signal = Object.hasOwn(SIGNALS, source) ? SIGNALS[source as SignalName] : undefined;
  return present({
    ...point,
    source,
    unit: point.unit ?? signal?.unit ?? "1",
    resolution: point.resolution ?? signal?.resolution ?? 0.001,
  });
}

const replayShape = object({
  id: required(name),
  type,
  file: required(text("a path", 4_096, (v) => v.length > 0)),
  format: withDefault(oneOf(["csv", "tsv", "cmapss"]), "csv"),
  rowsPerSecond: withDefault(rowsPerSecond, 1),
  asset: optional(name),
  assetColumn: optional(text("the header of a column", 256)),
  assetPrefix: withDefault(
    text("up to 32 of A-Z a-z 0-9 . _ -", 32, (v) => /^([A-Za-z0-9][A-Za-z0-9._-]*)?$/.test(v)),
    "",
  ),
  only: optional(list(name, 10_000, 1)),
  units: optional(list(integer(1, 1e9), 10_000, 1)),
  rows: optional(integer(1, 1e9)),
  timeColumn: optional(text("the header of a column", 256)),
  timeFormat: optional(oneOf(["iso", "epoch_ms", "epoch_s"])),
  start: optional(isoTime),
  stepMs: optional(stepMs),
  points: optional(
    list(
      object({ ...pointBase, asset: optional(name), column: optional(text("the header of a column", 256)) }),
      1_024,
      1,
    ),
  ),
});

/** A key that says how to read what another one names: without that one it would be passed over in silence. */
function idle(reading: Reading, key: string, other: string): undefined {
  return reading.fault("CONFIG_WRONG", key, { expected: `given only beside ${other}`, found: "it alone" });
}

function replayInput(shape: Shape<typeof replayShape>, reading: Reading, key: string): ReplayInputConfig | undefined {
  const { timeColumn, timeFormat, start, stepMs: step, points: given, units, ...rest } = shape;
  if (timeColumn === undefined && timeFormat !== undefined) return idle(reading, `${key}.timeFormat`, "timeColumn");
  const cmapss = shape.format === "cmapss";
  if (cmapss && (shape.asset ?? shape.assetColumn ?? timeColumn ?? given) !== undefined) {
    return reading.fault("CONFIG_WRONG", key, {
      expected: "without asset, assetColumn, timeColumn and points: the C-MAPSS format has its own",
      found: "one of them",
    });
  }
  if (shape.asset !== undefined && shape.only !== undefined) {
    const expected = "given only where the rows name their asset";
    return reading.fault("CONFIG_WRONG", `${key}.only`, { expected, found: "it beside asset" });
  }
  for (const made of ["start", "stepMs"] as const) {
    if (timeColumn === undefined || shape[made] === undefined) continue;
    const expected = "given only without timeColumn, which says when each row was";
    return reading.fault("CONFIG_WRONG", `${key}.${made}`, { expected, found: "it beside timeColumn" });
  }
  if (units !== undefined && (!cmapss || shape.only !== undefined)) {
    const expected = "given only with format cmapss, and without only";
    return reading.fault("CONFIG_WRONG", `${key}.units`, { expected, found: "it there" });
  }
  if (!cmapss && (shape.asset === undefined) === (shape.assetColumn === undefined)) {
    return reading.fault("CONFIG_WRONG", key, {
      expected: "given either asset or assetColumn",
      found: shape.asset === undefined ? "neither" : "both",
    });
  }
  if (!cmapss && given === undefined) {
    return reading.fault("CONFIG_MISSING", `${key}.points`, { expected: "a CSV's columns have no units of their own" });
  }
  const stranger = given?.findIndex(({ asset }) => asset !== undefined && (shape.asset ?? asset) !== asset) ?? -1;
  if (stranger >= 0) {
    const expected = `${shape.asset}, the asset of every row of this file`;
    const found = given![stranger]!.asset!;
    return reading.fault("CONFIG_WRONG", `${key}.points[${stranger}].asset`, { expected, found });
  }
  const points: readonly ReplayPoint[] = cmapss
    ? CMAPSS_CHANNELS.map((channel) => ({ name: channel.channel, column: channel.channel, ...channel }))
    : (given ?? []).map((point) =>
        present({
          ...point,
          column: point.column ?? point.channel,
          ...(shape.asset === undefined ? {} : { asset: point.asset ?? shape.asset }),
        }),
      );
  const assetPrefix = cmapss && rest.assetPrefix === "" ? "engine-" : rest.assetPrefix;
  return present({
    ...rest,
    type: "replay" as const,
    points,
    assetPrefix,
    ...(units === undefined ? {} : { only: units.map((unit) => `${assetPrefix}${unit}`) }),
    time:
      timeColumn === undefined
        ? { kind: "steps" as const, startMs: start ?? Date.UTC(2026, 0, 1), stepMs: step ?? 60_000 }
        : { kind: "column" as const, column: timeColumn, format: timeFormat ?? "iso" },
  });
}

/** The address of a broker; secrets do not belong in it. */
export const mqttUrl = text("an address such as mqtt://127.0.0.1:1883, without user or password in it", 512, (v) => {
  const url = URL.parse(v);
  return url !== null && /^(mqtts?|wss?):$/.test(url.protocol) && url.hostname !== "" && !v.includes("@");
});
const topic = text("a topic without wildcards", 512, (v) => v.length > 0 && !/[+#]/.test(v));

const mqttShape = object({
  id: required(name),
  type,
  url: required(mqttUrl),
  username: optional(text("a user name", 256)),
  passwordFile: optional(text("a path", 4_096, (v) => v.length > 0)),
  groupMs: withDefault(integer(0, 60_000), 0),
  points: required(
    list(
      object({
        ...pointBase,
        asset: required(name),
        topic: required(topic),
        valuePointer: withDefault(pointer, ""),
        timePointer: optional(pointer),
        timeUnit: optional(oneOf(["ms", "s", "iso"])),
      }),
      POINTS_MAX,
      1,
    ),
  ),
});

function mqttInput(shape: Shape<typeof mqttShape>, reading: Reading, key: string): MqttInputConfig | undefined {
  // MQTT-3.1.2-22: without a user name there is no password.
  if (shape.passwordFile !== undefined && shape.username === undefined) {
    return reading.fault("CONFIG_MISSING", `${key}.username`, { expected: "a password needs one" });
  }
  const blind = shape.points.findIndex(({ timePointer, timeUnit }) => timePointer === undefined && timeUnit);
  if (blind >= 0) return idle(reading, `${key}.points[${blind}].timeUnit`, "timePointer");
  const points = shape.points.map((point) => present({ ...point, timeUnit: point.timeUnit ?? ("ms" as const) }));
  return present({ ...shape, type: "mqtt" as const, points });
}

const hostShape = object({
  id: required(name),
  type,
  intervalMs: withDefault(integer(100, DAY_MS), 1_000),
  diskPath: withDefault(
    text("a path", 4_096, (v) => v.length > 0),
    "/",
  ),
  points: required(
    list(object({ ...pointBase, asset: required(name), source: required(oneOf(HOST_SOURCES)) }), 1_024, 1),
  ),
});

function hostInput(shape: Shape<typeof hostShape>): HostInputConfig {
  return present({ ...shape, type: "host" as const, points: shape.points.map(present) });
}
