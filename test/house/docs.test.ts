import { globSync, readdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { ERRORS } from "@bellwether/protocol/errors.ts";
import { integer, mapOf, validator } from "@bellwether/protocol/schema.ts";
import { Type } from "typebox";
import { describe, expect, it } from "vitest";
import { DOCUMENTS } from "../../docs/generate.ts";
import { declaredRoutes } from "../../fleet-server/src/api/routes.ts";

const root = resolve(import.meta.dirname, "../..");

describe("generated documents", () => {
  it.each(Object.entries(DOCUMENTS))('docs/%s is current (else: "npm run docs")', (file, text) => {
    expect(readFileSync(join(root, "docs", file), "utf8")).toBe(text());
  });
});

describe("docs/SECURITY.md", () => {
  it("shows each claim by tests that exist", () => {
    const text = readFileSync(join(root, "docs/SECURITY.md"), "utf8");
    const named = [...text.matchAll(/[\w./*-]+\.test\.ts/g)].map(([file]) => file);
    expect(named.length).toBeGreaterThan(20);
    expect(named.filter((file) => globSync(file, { cwd: root }).length === 0)).toEqual([]);
  });
});

/** The production sources, but for the catalogue itself. */
function sources(): { file: string; text: string }[] {
  return ["protocol/src", "agent/src", "fleet-server/src"].flatMap((folder) =>
    readdirSync(join(root, folder), { recursive: true, encoding: "utf8" })
      .filter((file) => file.endsWith(".ts") && !file.endsWith(".test.ts"))
      .map((file) => join(folder, file))
      .filter((file) => !file.startsWith("protocol/src/errors"))
      .map((file) => ({ file, text: readFileSync(join(root, file), "utf8") })),
  );
}

describe("the error catalogue", () => {
  const texts = sources();

  it("has every code the sources raise", () => {
    const raised = texts.flatMap(({ file, text }) =>
      [...text.matchAll(/\b(?:err|problem|failure|refuse)\(\s*"([A-Z][A-Z0-9_]+)"/g)].map(
        (match) => [match[1] as string, file] as const,
      ),
    );
    expect(raised.length).toBeGreaterThan(20);
    expect(raised.filter(([code]) => !(code in ERRORS))).toEqual([]);
  });

  it("has no code that no source raises", () => {
    const all = texts.map(({ text }) => text).join("\n");
    expect(Object.keys(ERRORS).filter((code) => !all.includes(`"${code}"`))).toEqual([]);
  });

  it("speaks in sentences: a full stop at the end of each, or a placeholder that brings one", () => {
    for (const [code, { sentence, remedy, http }] of Object.entries(ERRORS)) {
      expect(sentence, code).toMatch(/^\S.*[.!}]$/);
      expect(remedy, code).toMatch(/^\S.*[.!}]$/);
      expect(http, code).toBeGreaterThanOrEqual(400);
    }
  });
});

describe("maps", () => {
  it("are declared with mapOf, which judges every member's name", () => {
    const bare = sources().filter(
      ({ file, text }) => file !== "protocol/src/schema.ts" && text.includes("Type.Record("),
    );
    expect(bare.map(({ file }) => file)).toEqual([]);
  });

  it("take no member whose name does not fit, whatever is in it", () => {
    const map = validator("The map", mapOf(Type.String({ pattern: "^[a-z]+$", maxLength: 3 }), Type.Number()));
    expect(map.check({ ab: 1 }).ok).toBe(true);
    const wrong = [{ ab: "1" }, { "a b": 1 }, { "a b": {} }, { abcd: 1 }, { "ab\n": {} }];
    expect(wrong.filter((value) => map.check(value).ok)).toEqual([]);
    const any = validator("The map", mapOf(Type.String({ maxLength: 3 }), Type.Number()));
    expect([any.check({ "ü!": 1 }).ok, any.check({ "a\nb": "x" }).ok, any.check({ long: 1 }).ok]).toEqual([
      true,
      false,
      false,
    ]);
  });
});

describe("whole numbers", () => {
  it("are declared with integer, which has limits", () => {
    const bare = sources().filter(
      ({ file, text }) => file !== "protocol/src/schema.ts" && /Type\.Integer\(/.test(text),
    );
    expect(bare.map(({ file }) => file)).toEqual([]);
  });

  it("are none beyond what can be counted with", () => {
    const number = validator("The number", integer());
    const none = [1e300, -1e300, 2 ** 53, 0.5, Number.POSITIVE_INFINITY];
    expect(none.filter((value) => number.check(value).ok)).toEqual([]);
    expect([-5, 0, 2 ** 53 - 1].filter((value) => number.check(value).ok).length).toBe(3);
    expect(validator("The count", integer({ minimum: 1 })).check(0).ok).toBe(false);
  });
});

describe("the declared routes", () => {
  const routes = declaredRoutes("0");

  it("have operations named once, in camelCase, and summaries that are sentences", () => {
    const names = routes.map(({ operation }) => operation);
    expect(new Set(names).size).toBe(names.length);
    for (const { operation, summary } of routes) {
      expect(operation).toMatch(/^[a-z][A-Za-z]+$/);
      expect(summary, operation).toMatch(/^[A-Z].*\.$/);
    }
  });

  it("refuse unknown members at every depth of a JSON body", () => {
    const open: string[] = [];
    const walk = (schema: unknown, path: string): void => {
      if (typeof schema !== "object" || schema === null) return;
      const { type, properties, additionalProperties, patternProperties } = schema as Record<string, unknown>;
      // Without it a map takes any member whose name does not fit its pattern, and judges nothing about it.
      if (type === "object" && (properties || patternProperties) && additionalProperties === undefined) open.push(path);
      for (const [name, member] of Object.entries(schema)) walk(member, `${path}/${name}`);
    };
    for (const { body, operation } of routes) walk(body, operation);
    expect(open).toEqual([]);
  });

  it("declare no error twice that every route has anyway", () => {
    for (const { errors, operation } of routes) expect(new Set(errors).size, operation).toBe(errors.length);
  });
});
