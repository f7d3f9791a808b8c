import { unwrap } from "@bellwether/protocol/result.ts";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { stringify } from "yaml";
import { parseConfig } from "./parse.ts";

const whole = `
heartbeatMs: 5000
assets: [{id: pump-1}, {id: 7}]
inputs:
  - id: sim
    type: simulator
    seed: 7
    start: "2026-01-01T00:00:00Z"
    rowsPerSecond: 5
    machines: {lifeRows: [100, 200], stagger: 0}
    assets: [pump-1]
  - id: csv
    type: replay
    file: rows.csv
    asset: 7
    timeColumn: ts
    points:
      - {name: p, channel: pressure, unit: bar, resolution: 0.01, range: [0, 16], column: "P (bar)"}
  - {id: engines, type: replay, file: train_FD001.txt, format: cmapss, rowsPerSecond: 0}
  - id: site
    type: mqtt
    url: "mqtt://127.0.0.1:1883"
    points:
      - {name: t, asset: 7, channel: oil.temperature, unit: Cel, topic: plant/7/oil, valuePointer: /value, timePointer: /ts}
  - id: host
    type: host
    points: [{name: cpu, asset: 7, channel: cpu, unit: "1", source: cpu.load}]
models: [{model: pump-rul, assets: [pump-1], channels: {vib: vibration.de}}]
buffer: {maxBytes: 10000000}
`;

test("a whole configuration, its defaults filled in", () => {
  const config = unwrap(parseConfig(whole, "agent.yaml"));
  const [sim, csv, engines, site, host] = config.inputs;
  expect(config.assets).toEqual([{ id: "pump-1" }, { id: "7" }]);
  expect(sim).toMatchObject({ type: "simulator", startMs: Date.UTC(2026, 0, 1), stepMs: 60_000, from: 0 });
  expect(sim!.points).toHaveLength(12);
  expect(sim).toMatchObject({ machines: { lifeRows: [100, 200], stagger: 0, noise: 1, regimes: true } });
  expect(csv!.points[0]).toMatchObject({ asset: "7", column: "P (bar)", range: [0, 16] });
  expect(csv).toMatchObject({ time: { kind: "column", column: "ts", format: "iso" } });
  expect(engines).toMatchObject({ assetPrefix: "engine-", time: { kind: "steps" } });
  expect(engines!.points).toHaveLength(24);
  expect(site).toMatchObject({ groupMs: 0, points: [{ timeUnit: "ms" }] });
  expect(host).toMatchObject({ intervalMs: 1_000, diskPath: "/" });
  expect(config.buffer).toEqual({
    maxBytes: 10_000_000,
    maxAgeHours: 2_160,
    writeBytesPerDay: 17_179_869_184,
    commitMs: 250,
    joinMs: 2_000,
    retainAckedHours: 1,
  });
});

const minimal = (lines: string) => `assets: [{id: a}]\ninputs:\n${lines}`;
const point = (rest: string) => minimal(`  - {id: h, type: host, points: [{${rest}}]}`);

describe("a wrong one names line, key and what was expected", () => {
  test.each([
    ["not YAML", "assets: [a\n", "CONFIG_YAML", 2, "YAML"],
    ["a key twice", "assets: []\nassets: []\n", "CONFIG_TWICE", 2, "given once"],
    ["a key twice, deeper", whole.replace("seed: 7", "seed: 7\n    seed: 8"), "CONFIG_TWICE", 8, "inputs[0].seed"],
    ["a second document", "assets: []\n---\nassets: []\n", "CONFIG_YAML", 2, "only one is read"],
    ["depth without end", `assets: ${"[".repeat(20_000)}`, "CONFIG_YAML", 1, "nested too deeply"],
    ["what a terminal obeys", `"\\e[31mred\\n": 1\n${whole}`, "CONFIG_KEY_UNKNOWN", 1, '"\\u001b[31mred\\n"'],
    ["a topic that UTF-8 cannot carry", whole.replace("plant/7/oil", '"plant\\ud800"'), "CONFIG_WRONG", 24, "topic"],
    ["a line break in an address", whole.replace("1:1883", "1:1883\\n"), "CONFIG_WRONG", 22, "url"],
    ["no JSON pointer", whole.replace("Pointer: /value", "Pointer: /a~2b"), "CONFIG_WRONG", 24, "JSON pointer"],
    [
      "a password of nobody",
      whole.replace('1883"', '1883"\n    passwordFile: p'),
      "CONFIG_MISSING",
      20,
      "inputs[3].username",
    ],
    [
      "a point of another asset than the file's",
      whole.replace("{name: p, channel", "{name: p, asset: pump-1, channel"),
      "CONFIG_WRONG",
      18,
      "inputs[1].points[0].asset",
    ],
    [
      "assets chosen from a file of one",
      whole.replace("asset: 7", "asset: 7\n    only: [x]"),
      "CONFIG_WRONG",
      16,
      "only",
    ],
    ["nothing", "", "CONFIG_WRONG", 1, "a mapping"],
    ["a list", "- a\n", "CONFIG_WRONG", 1, "a mapping"],
    ["no inputs", "assets: []\n", "CONFIG_MISSING", 1, "inputs"],
    ["an unknown key", `heartbeatSm: 5\n${whole}`, "CONFIG_KEY_UNKNOWN", 1, 'did you mean "heartbeatMs"?'],
    [
      "a wrong type",
      whole.replace("5000", "soon"),
      "CONFIG_WRONG",
      2,
      'heartbeatMs must be an integer from 100 to 3600000, found "soon"',
    ],
    ["a number out of bounds", whole.replace("5000", "5"), "CONFIG_WRONG", 2, "heartbeatMs"],
    ["an input kind", whole.replace("type: host", "type: hots"), "CONFIG_WRONG", 26, 'did you mean "host"?'],
    ["a bad name", whole.replace("id: pump-1", 'id: "pump 1"'), "CONFIG_WRONG", 3, "assets[0].id must be a name"],
    ["an alias", "assets: &x [{id: a}]\ninputs: *x\n", "CONFIG_WRONG", 2, "an alias"],
    ["an asset twice", whole.replace("{id: 7}", "{id: pump-1}"), "CONFIG_TWICE", 3, "unique among the assets"],
    ["an input twice", whole.replace("id: csv", "id: sim"), "CONFIG_TWICE", 12, "inputs[1].id"],
    [
      "an unknown asset",
      whole.replace("asset: 7\n", "asset: pomp-1\n"),
      "CONFIG_REFERENCE",
      15,
      'did you mean "pump-1"?',
    ],
    ["an unknown unit", whole.replace("unit: Cel", "unit: Cell"), "CONFIG_WRONG", 24, 'did you mean "Cel"?'],
    ["a reversed range", whole.replace("[0, 16]", "[16, 0]"), "CONFIG_WRONG", 18, "low below high"],
    [
      "a coarse resolution",
      whole.replace("resolution: 0.01", "resolution: 99"),
      "CONFIG_WRONG",
      18,
      "smaller than the width",
    ],
    ["a resolution of 0", whole.replace("resolution: 0.01", "resolution: 0"), "CONFIG_WRONG", 18, "above 0"],
    ["a wildcard topic", whole.replace("plant/7/oil", "plant/#"), "CONFIG_WRONG", 24, "without wildcards"],
    [
      "a password in an address",
      whole.replace("mqtt://", "mqtt://u:p@"),
      "CONFIG_WRONG",
      22,
      "without user or password",
    ],
    ["another scheme", whole.replace("mqtt://", "http://"), "CONFIG_WRONG", 22, "mqtt://"],
    ["a time without zone", whole.replace("00Z", "00"), "CONFIG_WRONG", 8, "zone"],
    [
      "two ways to name the asset",
      whole.replace("timeColumn", "assetColumn: m\n    timeColumn"),
      "CONFIG_WRONG",
      12,
      "both",
    ],
    [
      "points in a C-MAPSS replay",
      whole.replace("format: cmapss", "format: cmapss, asset: 7"),
      "CONFIG_WRONG",
      19,
      "its own",
    ],
    [
      "a model channel nobody feeds",
      whole.replace("vib: vibration.de", "vib: vibration.d"),
      "CONFIG_REFERENCE",
      28,
      'did you mean "vibration.de"?',
    ],
    [
      "a time's format without its column",
      whole.replace("timeColumn: ts", "timeFormat: epoch_s"),
      "CONFIG_WRONG",
      16,
      "beside timeColumn",
    ],
    [
      "a time's unit without its pointer",
      whole.replace("timePointer: /ts", "timeUnit: s"),
      "CONFIG_WRONG",
      24,
      "beside timePointer",
    ],
    [
      "a start that no row would have",
      whole.replace("timeColumn: ts", "timeColumn: ts\n    stepMs: 5"),
      "CONFIG_WRONG",
      17,
      "without timeColumn",
    ],
    ["a model twice", whole.replace("models: [", "models: [{model: pump-rul}, "), "CONFIG_TWICE", 28, "bound once"],
    ["no source", point("name: x, asset: a, channel: c, unit: K"), "CONFIG_MISSING", 3, "inputs[0].points[0].source"],
    [
      "infinity",
      point("name: x, asset: a, channel: c, unit: K, source: temperature, range: [0, .inf]"),
      "CONFIG_WRONG",
      3,
      "low below high",
    ],
    [
      "a signal that does not exist",
      minimal("  - {id: s, type: simulator, points: [{name: x, asset: a, channel: vibration}]}"),
      "CONFIG_REFERENCE",
      3,
      "the signal",
    ],
    [
      "a point of an asset that is none of the simulator's",
      minimal("  - {id: s, type: simulator, assets: [a], points: [{name: x, asset: b, channel: speed}]}"),
      "CONFIG_REFERENCE",
      3,
      "points[0].asset",
    ],
    [
      "a unit of another kind",
      minimal("  - {id: s, type: simulator, points: [{name: x, asset: a, channel: speed, unit: bar}]}"),
      "CONFIG_WRONG",
      3,
      "/min converts to",
    ],
    [
      "lives reversed",
      minimal("  - {id: s, type: simulator, machines: {lifeRows: [300, 100]}}"),
      "CONFIG_WRONG",
      3,
      "low below high",
    ],
    [
      "an unknown asset of a simulator",
      minimal("  - {id: s, type: simulator, assets: [b]}"),
      "CONFIG_REFERENCE",
      3,
      "inputs[0].assets[0]",
    ],
    [
      "a CSV without points",
      minimal("  - {id: r, type: replay, file: x.csv, asset: a}"),
      "CONFIG_MISSING",
      3,
      "points",
    ],
  ])("%s", (_, text, code, line, said) => {
    const config = parseConfig(text, "agent.yaml");
    if (config.ok) throw new Error("it was accepted");
    expect(config.error).toMatchObject({ code, detail: { file: "agent.yaml", line } });
    expect(config.error.message).toContain(said);
    expect(config.error.message).toContain(`agent.yaml:${line}`);
  });

  test("every fault at once", () => {
    const config = parseConfig(whole.replace("5000", "5").replace("[0, 16]", "[16, 0]"), "agent.yaml");
    expect(config.ok ? [] : config.error.detail["all"]).toHaveLength(2);
  });

  test("channels that no packet could hold", () => {
    const points = Array.from(
      { length: 1_000 },
      (_, i) =>
        `    - {name: p${i}, asset: a, channel: channel-with-a-long-name-${i}, unit: Cel, resolution: 0.001, range: [-1000, 1000], source: temperature}`,
    );
    const config = parseConfig(minimal(`  - id: h\n    type: host\n    points:\n${points.join("\n")}`), "agent.yaml");
    expect(config.ok ? "ok" : config.error.code).toBe("CONFIG_TOO_LARGE");
    const few = parseConfig(
      minimal(`  - id: h\n    type: host\n    points:\n${points.slice(0, 300).join("\n")}`),
      "agent.yaml",
    );
    expect(few.ok).toBe(true);
  });

  test("a number that names something is what was written", () => {
    const text = minimal("  - {id: 1e3, type: simulator, assets: [007]}").replace("{id: a}", "{id: 007}, {id: 7}");
    const { assets, inputs } = unwrap(parseConfig(text, "agent.yaml"));
    expect(assets).toEqual([{ id: "007" }, { id: "7" }]);
    expect(inputs).toMatchObject([{ id: "1e3", assets: ["007"] }]);
  });

  test("a megabyte and more", () => {
    const config = parseConfig(`# ${"x".repeat(1_100_000)}`, "agent.yaml");
    expect(config.ok ? "ok" : config.error.code).toBe("TOO_LARGE");
  });
});

describe("hostile texts are answered, never thrown at", () => {
  const codeOf = (text: string) => {
    const config = parseConfig(text, "agent.yaml");
    return config.ok ? "ok" : config.error.code;
  };

  test("aliases in rings, bombs, tags, prototypes, depth", () => {
    expect(codeOf("assets: &a [*a]\ninputs: []\n")).toBe("CONFIG_WRONG");
    const bomb = Array.from(
      { length: 20 },
      (_, i) => `k${i + 1}: &k${i + 1} [${"*k".concat(String(i), ", ").repeat(9)}]`,
    );
    expect(codeOf(`k0: &k0 [x]\n${bomb.join("\n")}\n`)).toBe("CONFIG_KEY_UNKNOWN");
    expect(codeOf("assets: !!js/function 'x'\n")).toBe("CONFIG_YAML");
    expect(codeOf("__proto__: {heartbeatMs: 1}\nassets: []\ninputs: []\n")).toBe("CONFIG_KEY_UNKNOWN");
    expect(codeOf(`assets: [{id: constructor}]\ninputs: [{id: s, type: constructor}]\n`)).toBe("CONFIG_WRONG");
    expect(codeOf(`assets: ${"[".repeat(5_000)}${"]".repeat(5_000)}\n`)).not.toBe("ok");
    expect(codeOf("a: 1\n---\nb: 2\n")).toBe("CONFIG_YAML");
  });

  test("nothing is compared each with each: keys, assets and references by the ten thousand", () => {
    const many = (count: number, line: (i: number) => string) =>
      Array.from({ length: count }, (_, i) => line(i)).join("");
    const before = process.cpuUsage();
    expect(codeOf(many(60_000, (i) => `k${i}: 1\n`))).toBe("CONFIG_KEY_UNKNOWN");
    const assets = many(1_000, (i) => `{id: asset-with-a-long-name-${i}},`);
    const bound = many(9_000, (i) => `asset-with-a-lang-name-${i},`);
    const inputs = "inputs: [{id: s, type: simulator, assets: [asset-with-a-long-name-1]}]";
    const models = many(3, (i) => `{model: m${i}, assets: [${bound}]},`);
    expect(codeOf(`assets: [${assets}]\n${inputs}\nmodels: [${models}]\n`)).toBe("CONFIG_REFERENCE");
    // Of the processor, which others may keep busy: 2 s; minutes when each was compared with each.
    expect(process.cpuUsage(before).user / 1_000).toBeLessThan(20_000);
  });

  test("a megabyte of faults costs little more than one", () => {
    const before = process.cpuUsage();
    expect(codeOf(`a: [${",".repeat(900_000)}`)).toBe("CONFIG_YAML");
    // 1.2 s of the processor; 12 s when each of its 900,000 faults was given a stack.
    expect(process.cpuUsage(before).user / 1_000).toBeLessThan(6_000);
  });

  test("any text", () => {
    const alphabet = fc.constantFrom(..."abc: -[]{}\n\t#&*!|>'\"%@`0.9ié", "assets", "inputs", "\n  - ");
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.string({ unit: alphabet, maxLength: 200 })), (text) => {
        expect(codeOf(text)).not.toBe("ok");
      }),
      { numRuns: 1_000 },
    );
  });

  test("a good one with any part replaced by anything", () => {
    const good = JSON.parse(JSON.stringify(unwrapped(whole)));
    fc.assert(
      fc.property(fc.nat(), fc.jsonValue(), (where, value) => {
        const changed = structuredClone(good);
        const places: [Record<string, unknown>, string][] = [];
        const walk = (part: unknown) => {
          if (typeof part !== "object" || part === null) return;
          for (const key of Object.keys(part)) {
            places.push([part as Record<string, unknown>, key]);
            walk((part as Record<string, unknown>)[key]);
          }
        };
        walk(changed);
        const [parent, key] = places[where % places.length]!;
        parent[key] = value;
        const config = parseConfig(stringify(changed), "agent.yaml");
        if (!config.ok) {
          expect(config.error.code).toMatch(/^CONFIG_/);
          expect(config.error.message).not.toContain("unknown)");
        }
      }),
      { numRuns: 1_000 },
    );
  });

  function unwrapped(text: string): unknown {
    unwrap(parseConfig(text, "agent.yaml"));
    return {
      assets: [{ id: "a" }],
      inputs: [
        { id: "s", type: "simulator", seed: 1, machines: { lifeRows: [100, 200] } },
        {
          id: "r",
          type: "replay",
          file: "x",
          asset: "a",
          points: [{ name: "n", channel: "c", unit: "bar", range: [0, 1] }],
        },
        {
          id: "m",
          type: "mqtt",
          url: "mqtt://h",
          points: [{ name: "n", asset: "a", channel: "d", unit: "K", topic: "t" }],
        },
        { id: "h", type: "host", points: [{ name: "n", asset: "a", channel: "e", unit: "1", source: "cpu.load" }] },
      ],
      models: [{ model: "m", assets: ["a"], channels: { x: "c" } }],
      buffer: { commitMs: 100 },
    };
  }
});
