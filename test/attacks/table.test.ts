import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { ERRORS } from "@bellwether/protocol/errors.ts";
import { expect, it } from "vitest";
import { SECTIONS } from "./table/index.ts";

const root = resolve(import.meta.dirname, "../..");
const rows = SECTIONS.flatMap((section) => section.rows);

it("has at least 60 attacks, each once, refused with at least 30 codes of the catalogue", () => {
  expect(rows.length).toBeGreaterThanOrEqual(60);
  const names = SECTIONS.flatMap(({ name, rows }) => rows.map(({ attack }) => `${name}: ${attack}`));
  expect(names.filter((name, index) => names.indexOf(name) !== index)).toEqual([]);
  const codes = new Set(rows.map(({ code }) => code).filter((code) => code in ERRORS));
  expect(codes.size).toBeGreaterThanOrEqual(30);
});

it("names a code of the catalogue for each, or the answer of MQTT and the counter that tells", () => {
  const other = rows.filter(({ code }) => !(code in ERRORS));
  const counted = /^(CONNACK \d|SUBACK 128|closed)(, `bellwether_mqtt_[a-z]+_total`)?$/;
  expect(other.filter(({ code }) => !counted.test(code))).toEqual([]);
});

it.each(SECTIONS)("$title: every row is run by $test", ({ test, name, rows }) => {
  expect(rows.length).toBeGreaterThan(0);
  const text = readFileSync(join(root, test), "utf8");
  expect(text).toMatch(new RegExp(`\\b(it|test)\\.each\\(named\\(${name}\\)\\)|of ${name}\\.entries\\(\\)`));
});
