import { readFileSync } from "node:fs";
import { unwrap } from "@bellwether/protocol/result.ts";
import { expect, test } from "vitest";
import { HOST_SOURCES } from "./config.ts";
import { MACHINES_DEFAULT } from "./inputs.ts";
import { parseConfig } from "./parse.ts";
import { SIGNALS } from "./signals.ts";

const text = (name: string) => readFileSync(new URL(`../../../docs/${name}`, import.meta.url), "utf8");

test("the example of AGENT-CONFIG.md is a configuration", () => {
  const examples = [...text("AGENT-CONFIG.md").matchAll(/```yaml\n(.*?)```/gs)].map(([, yaml]) => yaml!);
  expect(examples.length).toBeGreaterThan(0);
  for (const yaml of examples) unwrap(parseConfig(yaml, "docs/AGENT-CONFIG.md"));
});

test("AGENT-CONFIG.md names every host source and every knob of the machines with its default", () => {
  for (const source of HOST_SOURCES) expect(text("AGENT-CONFIG.md")).toContain(`\`${source}\``);
  for (const [knob, value] of Object.entries(MACHINES_DEFAULT)) {
    const shown = Array.isArray(value) ? `[${value.join(", ")}]` : String(value);
    expect(text("AGENT-CONFIG.md")).toContain(`\`${knob}: ${shown}\``);
  }
});

test("SIMULATOR.md names every signal with its unit and resolution", () => {
  // The formatter pads cells.
  const rows = text("SIMULATOR.md").replaceAll(/ +/g, " ").split("\n");
  for (const [signal, { unit, resolution }] of Object.entries(SIGNALS)) {
    const row = rows.find(
      (line) => line.startsWith("|") && line.includes(`\`${signal}\``) && line.includes(` ${unit} |`),
    );
    expect(row, signal).toContain(`| ${resolution} |`);
  }
});
