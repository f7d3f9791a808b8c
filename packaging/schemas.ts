/**
 * Compiles every schema the agent judges by: `node packaging/schemas.ts FILE` writes a module that stands for Ajv in a bundle.
 * Ajv takes 25 ms to load and milliseconds for each schema, in every thread and every self-test of a device.
 */
import { writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { OPTIONS, schemas } from "@bellwether/protocol/schema.ts";
import { Ajv2020 } from "ajv/dist/2020.js";
import standalone from "ajv/dist/standalone/index.js";
import { ROOT } from "./run.io.ts";
import { schemaKey } from "./schema-key.ts";
import { sourcesWith } from "./sources.io.ts";

const require = createRequire(import.meta.url);
const [file] = process.argv.slice(2);
if (file === undefined) throw new Error("usage: node packaging/schemas.ts FILE");

// Whoever makes a validator notes its schema when it is loaded.
for (const path of sourcesWith(["protocol/src", "agent/src"], "validator(")) await import(pathToFileURL(path).href);

const ajv = new Ajv2020({ ...OPTIONS, code: { source: true, esm: true } });
const byKey = Map.groupBy(schemas, schemaKey);
for (const [key, same] of byKey) {
  if (new Set(same.map((schema) => JSON.stringify(schema))).size > 1) throw new Error(`two schemas are named ${key}`);
}
const names = [...byKey.keys()].map((key, index) => [key, `judge${index}`] as const);
for (const [key, name] of names) ajv.addSchema(byKey.get(key)?.[0] as object, name);
// What the code requires is found from here; the file may be written anywhere.
const code = standalone
  .default(ajv, Object.fromEntries(names.map(([, name]) => [name, name])))
  .replaceAll(/require\("([^"]+)"\)/g, (_, wanted) => `require(${JSON.stringify(require.resolve(wanted))})`);
const table = names.map(([key, name]) => `  ${JSON.stringify(key)}: ${name},`);
writeFileSync(
  file,
  `${code}
import { schemaKey } from ${JSON.stringify(join(ROOT, "packaging/schema-key.ts"))};
const compiled = {
${table.join("\n")}
};
/** Stands for Ajv's class: nothing is compiled any more. */
export class Ajv2020 {
  compile(schema) {
    const found = compiled[schemaKey(schema)];
    if (found === undefined) throw new Error("this schema was not there when the program was built");
    return found;
  }
}
`,
);
