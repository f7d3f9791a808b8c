import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Problem } from "@bellwether/protocol/errors.ts";
import { TIME_MS_MAX } from "@bellwether/protocol/ids.ts";
import type { TelemetryRow } from "@bellwether/protocol/messages/stream.ts";
import { unwrap } from "@bellwether/protocol/result.ts";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { holds } from "../../../test/kit/eventually.ts";
import type { InputConfig } from "../config/config.ts";
import { parseConfig } from "../config/parse.ts";
import type { Emit, InputContext, JsonValue, SiteBrokerOptions } from "./input.ts";
import { createInput } from "./inputs.io.ts";
import { ROWS_AHEAD_MAX } from "./pace.io.ts";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "bellwether-inputs-"));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** The one input of a configuration, its files in the test's folder. */
function inputOf(yaml: string): InputConfig {
  return unwrap(parseConfig(`assets: [{id: a}, {id: b}]\ninputs: [${yaml}]\n`, join(folder, "agent.yaml"))).inputs[0]!;
}

interface Run {
  readonly rows: TelemetryRow[];
  readonly cursors: (JsonValue | undefined)[];
  readonly problems: Problem[];
  stop(): Promise<void>;
}

/** Starts an input and collects what it says. */
function run(config: InputConfig, change: Partial<InputContext> = {}, emit?: Emit) {
  const rows: TelemetryRow[] = [];
  const cursors: (JsonValue | undefined)[] = [];
  const problems: Problem[] = [];
  let ended = () => {};
  const end = new Promise<void>((resolve) => {
    ended = resolve;
  });
  const input = createInput(config, {
    nowMs: () => 1_000,
    connectMqtt: () => ({ close: async () => {} }),
    probes: {
      cpuLoad: async () => 0.25,
      memoryUsedFraction: async () => 0.5,
      diskUsedFraction: async () => undefined,
      temperatureC: async () => {
        throw new Error("no sensor");
      },
    },
    onProblem: (fault) => problems.push(fault),
    onEnd: ended,
    ...change,
  });
  input.start(async (some, cursor) => {
    await emit?.(some, cursor);
    rows.push(...some);
    cursors.push(cursor);
  });
  const result: Run & { end: Promise<void>; input: typeof input } = {
    rows,
    cursors,
    problems,
    stop: () => input.stop(),
    end,
    input,
  };
  return result;
}

const file = async (name: string, text: string | Uint8Array) => {
  await writeFile(join(folder, name), text);
  return name;
};

describe("simulator", () => {
  const yaml = `{id: s, type: simulator, seed: 5, start: "2026-01-01T00:00:00Z", rowsPerSecond: 0, rows: 150}`;

  test("all rows once, in order, whatever cursor it was stopped at", async () => {
    const whole = run(inputOf(yaml));
    await whole.end;
    expect(whole.rows).toHaveLength(300);
    expect(new Set(whole.rows.map(({ asset, observedAtMs }) => `${asset} ${observedAtMs}`)).size).toBe(300);
    for (const cursor of whole.cursors) {
      const rest = run(inputOf(yaml), { cursor: cursor! });
      await rest.end;
      const next = (cursor as { next: number }).next;
      expect(rest.rows).toEqual(whole.rows.slice(2 * next));
    }
    const declared = unwrap(await whole.input.declare());
    expect(declared.map(({ asset }) => asset)).toEqual(["a", "b"]);
    expect(declared[0]!.channels.map(({ channel }) => channel)).toEqual(Object.keys(whole.rows[0]!.values));
  });

  test("a pipeline that takes no rows holds it back within a bound, and stop() does not wait for it", async () => {
    let offered = 0;
    const held = run(inputOf(yaml.replace(", rows: 150", "")), {}, (rows) => {
      offered += rows.length;
      return new Promise(() => {});
    });
    await holds(() => expect(offered).toBeGreaterThanOrEqual(ROWS_AHEAD_MAX));
    for (let i = 0; i < 5; i++) await new Promise((resolve) => setImmediate(resolve));
    const portion = 64 * 2;
    expect(offered).toBeLessThan(ROWS_AHEAD_MAX + portion);
    await held.stop();
    expect(held.rows).toHaveLength(0);
  });

  test("it has ended when its last row is durable, not when it was offered", async () => {
    const taking: (() => void)[] = [];
    const held = run(inputOf(yaml), {}, () => new Promise<void>((taken) => taking.push(taken)));
    let ended = false;
    void held.end.then(() => {
      ended = true;
    });
    await holds(() => expect(taking).toHaveLength(3));
    for (const taken of taking.slice(0, 2)) taken();
    for (let i = 0; i < 5; i++) await new Promise((resolve) => setImmediate(resolve));
    expect(ended).toBe(false);
    taking[2]!();
    await held.end;
    expect(held.rows).toHaveLength(300);
  });

  test("a pace is kept, without a burst after a pause", async () => {
    const slow = inputOf(yaml.replace("rowsPerSecond: 0", "rowsPerSecond: 50").replace("rows: 150", "rows: 30"));
    const began = performance.now();
    const paced = run(slow);
    await paced.end;
    expect(performance.now() - began).toBeGreaterThan(500);
    expect(paced.rows).toHaveLength(60);
  });

  test("it ends with the last time that can be written, and waits for years without a busy loop", async () => {
    const start = '"9999-12-31T23:59:59Z", stepMs: 31622400000, from: 265000';
    const late = run(inputOf(`{id: s, type: simulator, rowsPerSecond: 0, assets: [a], start: ${start}}`));
    await late.end;
    expect(late.rows.length).toBeGreaterThan(0);
    expect(late.rows.at(-1)!.observedAtMs).toBeLessThanOrEqual(TIME_MS_MAX);
    expect(late.rows.at(-1)!.observedAtMs + 31_622_400_000).toBeGreaterThan(TIME_MS_MAX);
    const warnings: Error[] = [];
    const warned = (warning: Error) => void warnings.push(warning);
    process.on("warning", warned);
    const slow = run(inputOf(`{id: s, type: simulator, rowsPerSecond: 1e-9}`));
    await holds(() => expect(slow.rows).toHaveLength(2));
    for (let i = 0; i < 5; i++) await new Promise((resolve) => setImmediate(resolve));
    await slow.stop();
    process.off("warning", warned);
    expect(warnings).toEqual([]);
  });

  test("without a start, rows carry the time they are made at", async () => {
    const live = run(inputOf(`{id: s, type: simulator, rowsPerSecond: 0, rows: 2}`), { nowMs: () => 77 });
    await live.end;
    expect(live.rows.map(({ observedAtMs }) => observedAtMs)).toEqual([77, 77, 77, 77]);
  });

  test("a pipeline that fails ends it with a report", async () => {
    const broken = run(inputOf(yaml), {}, () => Promise.reject(new Error("disk full")));
    await holds(() => expect(broken.problems.map(({ code }) => code)).toEqual(["INPUT_STOPPED"]));
    expect(broken.problems[0]!.message).toContain("disk full");
  });
});

describe("replay of CSV", () => {
  const yaml = (name: string, rest = "asset: a, timeColumn: ts") =>
    `{id: r, type: replay, file: "${name}", rowsPerSecond: 0, ${rest}, points: [{name: p, channel: pressure, unit: bar, resolution: 0.1, range: [0, 10]}, {name: t, channel: temp, column: "T °C", unit: Cel}]}`;

  test("values on their grid, quality, time; bad lines left out and named", async () => {
    const text = [
      '\uFEFFts,"pressure",T °C',
      "2026-01-01T00:00:00Z,1.26,20",
      '2026-01-01T00:01:00Z,"99",',
      "",
      "yesterday,1,1",
      "2026-01-01T00:02:00Z,1",
      "2026-01-01T00:03:00Z,abc,-1e1\r",
    ].join("\n");
    const replay = run(inputOf(yaml(await file("a.csv", text))));
    await replay.end;
    expect(replay.rows).toEqual([
      { asset: "a", observedAtMs: Date.UTC(2026, 0, 1), values: { pressure: 1.3, temp: 20 } },
      {
        asset: "a",
        observedAtMs: Date.UTC(2026, 0, 1, 0, 1),
        values: { pressure: 99, temp: null },
        quality: { pressure: "uncertain", temp: "bad" },
      },
      {
        asset: "a",
        observedAtMs: Date.UTC(2026, 0, 1, 0, 3),
        values: { pressure: null, temp: -10 },
        quality: { pressure: "bad" },
      },
    ]);
    expect(replay.problems.map(({ code, detail }) => [code, detail["line"]])).toEqual([
      ["INPUT_ROW_WRONG", 5],
      ["INPUT_VALUE_WRONG", 7],
    ]);
  });

  test.each([
    ["without a line", "", "INPUT_FILE_WRONG", "no header"],
    ["with a needed header twice", "ts,pressure,pressure,T °C\n0,1,2,3\n", "INPUT_COLUMN_TWICE", "more than once"],
    ["with semicolons", "ts;pressure;T °C\n0;1,5;2\n", "INPUT_COLUMN_MISSING", "not divided by commas"],
  ])("a file %s is named as what it is, not played as nothing", async (_, text, code, said) => {
    const replay = run(inputOf(yaml(await file("odd.csv", text))));
    await holds(() => expect(replay.problems.map((problem) => problem.code)).toEqual([code]));
    expect(replay.problems[0]!.message).toContain(said);
    expect(replay.rows).toEqual([]);
    await replay.stop();
  });

  test("rows of assets beyond the bound are left out and named", async () => {
    const names = Array.from({ length: 10_003 }, (_, i) => `m${i},1,2`).join("\n");
    const many = run(inputOf(yaml(await file("many.csv", `m,pressure,T °C\n${names}`), "assetColumn: m")));
    await many.end;
    expect(many.rows).toHaveLength(10_000);
    expect(many.problems.map(({ code }) => code)).toEqual(["INPUT_ROW_WRONG"]);
  });

  test("any cursor goes on exactly there; another file begins at its beginning", async () => {
    const lines = Array.from({ length: 200 }, (_, i) => `${i * 1_000},${i % 10},${i}${i % 7 === 3 ? ",too,many" : ""}`);
    const rest = "asset: a, timeColumn: ts, timeFormat: epoch_ms";
    const config = inputOf(yaml(await file("b.csv", ["ts,pressure,T °C", ...lines].join("\n")), rest));
    const whole = run(config);
    await whole.end;
    expect(whole.rows.length).toBe(200 - lines.filter((line) => line.endsWith("many")).length);
    for (const cursor of whole.cursors) {
      const again = run(config, { cursor: cursor! });
      await again.end;
      const { row } = cursor as { row: number };
      expect(again.rows).toEqual(whole.rows.filter(({ observedAtMs }) => observedAtMs / 1_000 >= row));
    }
    const other = run(config, { cursor: { file: "0123456789abcdef", row: 100 } });
    await other.end;
    expect(other.rows).toEqual(whole.rows);
    expect(other.problems.map(({ code }) => code)).toContain("INPUT_FILE_CHANGED");
    for (const cursor of [null, 7, "x", [], { row: -1 }, { row: "1" }, { row: 1.5 }]) {
      const strange = run(config, { cursor });
      await strange.end;
      expect(strange.rows).toHaveLength(whole.rows.length);
    }
  });

  test("assets from a column, with a prefix, some of them, so many rows each, times counted", async () => {
    const text = "m,pressure,T °C\n1,1,1\n2,2,2\n1,3,3\n3,4,4\n1,5,5\n/etc,6,6\n";
    const rest = `assetColumn: m, assetPrefix: "pump-", only: [pump-1, pump-2], rows: 2, start: "2026-01-01T00:00:00Z", stepMs: 10`;
    const replay = run(inputOf(yaml(await file("c.csv", text), rest)));
    await replay.end;
    const t0 = Date.UTC(2026, 0, 1);
    expect(replay.rows.map(({ asset, observedAtMs, values }) => [asset, observedAtMs - t0, values["temp"]])).toEqual([
      ["pump-1", 0, 1],
      ["pump-2", 0, 2],
      ["pump-1", 10, 3],
    ]);
    expect(replay.problems.map(({ message }) => message).join()).toContain('"pump-/etc" is no name');
    const declared = unwrap(await replay.input.declare());
    expect(declared.map(({ asset }) => asset).sort()).toEqual(["pump-1", "pump-2"]);
  });

  test.each<[string, string | Uint8Array, string]>([
    ["a missing column", "ts,presure,T °C\n", "INPUT_COLUMN_MISSING"],
    ["a quote that never closes", 'ts,pressure,T °C\n"2026,1,2\n3,4,5\n', "INPUT_FILE_WRONG"],
    ["a line without end", `ts,pressure,T °C\n${"9".repeat(300_000)}`, "INPUT_FILE_WRONG"],
    ["too many columns", `${"x,".repeat(5_000)}\n`, "INPUT_FILE_WRONG"],
    ["bytes", Uint8Array.from({ length: 4_000 }, (_, i) => (i * 7_919) % 256), "INPUT_"],
  ])("%s is answered with a code and its line", async (name, content, code) => {
    const replay = run(inputOf(yaml(await file(`${name}.csv`, content))));
    await replay.end;
    expect(replay.rows).toEqual([]);
    expect(replay.problems[0]?.code).toContain(code);
    expect(replay.problems[0]?.message).toContain(".csv");
  });

  test("a file that is not there, or is a folder", async () => {
    for (const name of ["nowhere.csv", "."]) {
      const replay = run(inputOf(yaml(name)));
      await holds(() => expect(replay.problems.map(({ code }) => code)).toEqual(["INPUT_FILE_UNREADABLE"]));
      const declared = await replay.input.declare();
      expect(declared.ok ? "ok" : declared.error.code).toBe("INPUT_FILE_UNREADABLE");
      await replay.stop();
    }
  });

  test("any bytes at all: no throw, no hang, nothing that is no row", async () => {
    let n = 0;
    await fc.assert(
      fc.asyncProperty(
        fc.oneof(fc.string({ unit: fc.constantFrom(...'ab,"\n\r\t 12.-eZT:') }), fc.string({ unit: "binary" })),
        async (text) => {
          n += 1;
          const replay = run(inputOf(yaml(await file(`fuzz-${n}.csv`, `ts,pressure,T °C\n${text}`))));
          await replay.end;
          for (const row of replay.rows) expect(Number.isInteger(row.observedAtMs)).toBe(true);
          expect(replay.problems.every(({ code }) => code.startsWith("INPUT_"))).toBe(true);
        },
      ),
      { numRuns: 80 },
    );
  });
});

describe("replay of C-MAPSS", () => {
  const line = (unit: number, cycle: number, rest = "") =>
    [unit, cycle, ...Array.from({ length: 24 }, (_, i) => (unit + cycle / 10 + i).toFixed(4))].join(" ") + rest;

  test("engines run side by side, each by its own cycles", async () => {
    const lines = [line(1, 1), line(1, 2), line(1, 3), line(2, 1, "  "), "1 2 three", line(2, 2), line(3, 1)];
    const name = await file("fd.txt", `${lines.join("\n")}\n`);
    const yaml = `{id: e, type: replay, file: ${name}, format: cmapss, rowsPerSecond: 0, units: [1, 2], rows: 2, start: "2026-01-01T00:00:00Z", stepMs: 1000}`;
    const replay = run(inputOf(yaml));
    await replay.end;
    const t0 = Date.UTC(2026, 0, 1);
    expect(replay.rows.map(({ asset, observedAtMs }) => [asset, observedAtMs - t0])).toEqual([
      ["engine-1", 0],
      ["engine-2", 0],
      ["engine-1", 1_000],
      ["engine-2", 1_000],
    ]);
    expect(replay.rows[0]!.values["setting_1"]).toBe(1.1);
    expect(replay.rows[0]!.values["s21"]).toBe(24.1);
    expect(replay.problems[0]).toMatchObject({ code: "INPUT_ROW_WRONG", detail: { line: 5 } });
    expect(unwrap(await replay.input.declare()).map(({ asset }) => asset)).toEqual(["engine-1", "engine-2"]);
    const again = run(inputOf(yaml), { cursor: { ...(replay.cursors[0] as object), row: 1 } });
    await again.end;
    expect(again.rows).toEqual(replay.rows.slice(2));
  });

  test("a file without rows, a mark of its encoding, a cycle whose time nobody can write", async () => {
    const yaml = (name: string) =>
      `{id: e, type: replay, file: ${name}, format: cmapss, rowsPerSecond: 0, stepMs: 31622400000}`;
    const none = run(inputOf(yaml(await file("none.txt", "\n \n"))));
    await none.end;
    expect(none.problems).toMatchObject([{ code: "INPUT_FILE_WRONG" }]);
    const odd = run(inputOf(yaml(await file("odd.txt", `\uFEFF${line(1, 1)}\n${line(1, 900_000_000)}\n`))));
    await odd.end;
    expect(odd.rows.map(({ asset, observedAtMs }) => [asset, observedAtMs])).toEqual([
      ["engine-1", Date.UTC(2026, 0, 1)],
    ]);
    expect(odd.problems).toMatchObject([{ code: "INPUT_ROW_WRONG", detail: { line: 2 } }]);
  });
});

describe("site broker", () => {
  const point = (name: string, asset: string, rest: string) =>
    `{name: ${name}, asset: ${asset}, channel: ${name}, unit: bar, ${rest}}`;
  const yaml = (points: string[], rest = "") =>
    `{id: m, type: mqtt, url: "mqtt://127.0.0.1:1", ${rest} points: [${points.join(", ")}]}`;

  function site(config: InputConfig, emit?: Emit) {
    let options: SiteBrokerOptions | undefined;
    let closed = false;
    const input = run(
      config,
      {
        connectMqtt(given) {
          options = given;
          return {
            close: async () => {
              closed = true;
            },
          };
        },
      },
      emit,
    );
    const send = (topic: string, payload: string, kept = false) =>
      options!.onMessage(topic, Buffer.from(payload), kept);
    return { input, send, options: () => options, closed: () => closed };
  }

  test("value and time by JSON pointer; what cannot be read is bad and named", async () => {
    const config = inputOf(
      yaml([
        point("p", "a", 'topic: x/1, valuePointer: "/v/0", timePointer: /ts, timeUnit: s, resolution: 0.5'),
        point("q", "a", 'topic: x/1, valuePointer: "/~1odd~0", timePointer: /ts, timeUnit: s'),
        point("plain", "b", "topic: x/2"),
      ]),
    );
    const { input, send, options, closed } = site(config);
    await holds(() => expect(options()?.topics).toEqual(["x/1", "x/2"]));
    send("x/1", '{"v":[1.3],"/odd~":"7.5","ts":12.5}');
    send("x/2", "21");
    send("x/2", "high");
    send("x/1", '{"v":[1.3],"/odd~":null,"ts":"soon"}');
    send("x/1", '{"v":[],"/odd~":true,"ts":13}');
    send("x/9", "1");
    await holds(() => expect(input.rows).toHaveLength(5));
    expect(input.rows).toEqual([
      { asset: "a", observedAtMs: 12_500, values: { p: 1.5, q: 7.5 } },
      { asset: "b", observedAtMs: 1_000, values: { plain: 21 } },
      { asset: "b", observedAtMs: 1_000, values: { plain: null }, quality: { plain: "bad" } },
      { asset: "a", observedAtMs: 1_000, values: { p: null, q: null }, quality: { p: "bad", q: "bad" } },
      { asset: "a", observedAtMs: 13_000, values: { p: null, q: 1 }, quality: { p: "bad" } },
    ]);
    expect(new Set(input.problems.map(({ code }) => code))).toEqual(new Set(["INPUT_PAYLOAD_WRONG"]));
    options()!.onConnected(false, "it sent too much", true);
    expect(input.problems.at(-1)).toMatchObject({ code: "INPUT_PACKET_REFUSED" });
    options()!.onConnected(false, "nobody listens there", false);
    expect(input.problems.at(-1)).toMatchObject({ code: "INPUT_DISCONNECTED" });
    expect(input.problems.at(-1)?.message).toContain("nobody listens there");
    await input.stop();
    expect(closed()).toBe(true);
  });

  test("what the broker kept has its own time or none: it is never stamped with the time it came at", async () => {
    const config = inputOf(
      yaml([point("p", "a", "topic: x/1, valuePointer: /v, timePointer: /t"), point("q", "b", "topic: x/2")]),
    );
    const { input, send, options } = site(config);
    await holds(() => expect(options()).toBeDefined());
    send("x/1", '{"v":1,"t":100}', true);
    send("x/2", "2", true);
    send("x/2", "3");
    await holds(() => expect(input.rows).toHaveLength(3));
    expect(input.rows).toEqual([
      { asset: "a", observedAtMs: 100, values: { p: 1 } },
      { asset: "b", observedAtMs: 1_000, values: { q: null }, quality: { q: "bad" } },
      { asset: "b", observedAtMs: 1_000, values: { q: 3 } },
    ]);
    expect(input.problems.map(({ code, detail }) => [code, detail["channel"]])).toEqual([["INPUT_PAYLOAD_WRONG", "q"]]);
    await input.stop();
  });

  test("values of one instant on several topics make one row", async () => {
    const points = ["p", "q"].map((name) =>
      point(name, "a", `topic: x/${name}, valuePointer: /v, timePointer: /t, timeUnit: ms`),
    );
    const { input, send, options } = site(inputOf(yaml(points, "groupMs: 20,")));
    await holds(() => expect(options()).toBeDefined());
    send("x/p", '{"v":1,"t":100}');
    send("x/q", '{"v":2,"t":100}');
    send("x/p", '{"v":3,"t":200}');
    await holds(() => expect(input.rows).toHaveLength(2));
    expect(input.rows.map(({ values }) => values)).toEqual([{ p: 1, q: 2 }, { p: 3 }]);
    await input.stop();
  });

  test("a flood waits in a bounded queue, and what is dropped is counted", async () => {
    let take = () => {};
    const gate = new Promise<void>((resolve) => {
      take = resolve;
    });
    const { input, send, options } = site(inputOf(yaml([point("p", "a", "topic: x")])), () => gate);
    await holds(() => expect(options()).toBeDefined());
    for (let i = 0; i < 10_500; i += 1) send("x", String(i));
    await holds(() => expect(input.problems.map(({ code }) => code)).toContain("INPUT_OVERFLOW"));
    take();
    await holds(() => expect(input.rows.at(-1)?.values["p"]).toBe(10_499));
    expect(input.rows.length).toBeLessThanOrEqual(10_001);
    await input.stop();
  });

  test("a password file that is not there stops it with a code", async () => {
    const { input } = site(inputOf(yaml([point("p", "a", "topic: x")], "passwordFile: nowhere.txt, username: u,")));
    await holds(() => expect(input.problems.map(({ code }) => code)).toEqual(["INPUT_FILE_UNREADABLE"]));
  });
});

test("host: what a probe does not give is a bad sample, never an old one", async () => {
  const points = [
    "{name: c, asset: a, channel: cpu, unit: '%', resolution: 1, source: cpu.load}",
    "{name: m, asset: a, channel: mem, unit: '1', source: memory.used_fraction}",
    "{name: d, asset: a, channel: disk, unit: '1', source: disk.used_fraction}",
    "{name: t, asset: b, channel: temp, unit: Cel, source: temperature}",
  ];
  const host = run(inputOf(`{id: h, type: host, intervalMs: 100, points: [${points.join(", ")}]}`));
  await holds(() => expect(host.rows.length).toBeGreaterThanOrEqual(4), 5_000);
  await host.stop();
  const after = host.rows.length;
  expect(host.rows.slice(0, 2)).toEqual([
    { asset: "a", observedAtMs: 1_000, values: { cpu: 25, mem: 0.5, disk: null }, quality: { disk: "bad" } },
    { asset: "b", observedAtMs: 1_000, values: { temp: null }, quality: { temp: "bad" } },
  ]);
  await new Promise((resolve) => setImmediate(resolve));
  expect(host.rows.length).toBe(after);
});
