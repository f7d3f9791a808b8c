import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { type RoleSpawner, roleSpawner } from "@bellwether/protocol/process/roles.io.ts";
import { buildSync } from "esbuild";
import { COMPILES_SCHEMAS, compileSchemas } from "../../packaging/executable.io.ts";

const ROOT = resolve(import.meta.dirname, "../..");

/** The command lines, by the workspace whose `main.ts` each starts. */
const WORKSPACES = { bellwether: "fleet-server", "bellwether-agent": "agent" } as const;
export type Program = keyof typeof WORKSPACES;

const built = new Map<Program, string>();

/**
 * The file that starts a program as installed devices run it: in few files, which takes a third less than reading the
 * sources one by one. Built once in a run of the tests, when it is first needed. The `bin` of each is tried by its own tests.
 */
export function programFile(program: Program): string {
  const known = built.get(program);
  if (known !== undefined) return known;
  const folder = join(ROOT, ".cache/programs", program);
  const stamp = `${folder}.run`;
  const run = process.env["BELLWETHER_TEST_RUN"];
  if (run === undefined || readOr(stamp).toString() !== run) {
    build(WORKSPACES[program], folder);
    if (run !== undefined) replace(stamp, Buffer.from(run));
  }
  const file = join(folder, "main.mjs");
  built.set(program, file);
  return file;
}

/** Starts a program's threads and children from that file. */
export function programSpawner<Role extends string>(program: Program): RoleSpawner<Role> {
  return roleSpawner<Role>(pathToFileURL(programFile(program)));
}

function build(workspace: string, folder: string): void {
  mkdirSync(folder, { recursive: true });
  const alias = workspace === "agent" ? { [COMPILES_SCHEMAS]: compileSchemas(folder) } : {};
  const { outputFiles } = buildSync({
    absWorkingDir: ROOT,
    entryPoints: [join(ROOT, workspace, "src/main.ts")],
    bundle: true,
    splitting: true,
    platform: "node",
    target: "node24",
    // As it is packaged; constants become the numbers they are, which a scan of bytes feels.
    minifySyntax: true,
    minifyWhitespace: true,
    format: "esm",
    outdir: folder,
    outExtension: { ".js": ".mjs" },
    external: ["better-sqlite3", "onnxruntime-node"],
    alias,
    // Packages of the older kind ask for Node's own modules by `require`.
    banner: { js: 'import { createRequire } from "node:module"; const require = createRequire(import.meta.url);' },
    write: false,
  });
  // A worker beside this one may build, or run, the same: what it reads is whole, and stays where it did not change.
  for (const { path, contents } of outputFiles) {
    if (!Buffer.from(contents).equals(readOr(path))) replace(path, contents);
  }
  const current = new Set(outputFiles.map(({ path }) => basename(path)));
  for (const name of readdirSync(folder)) {
    if (name.endsWith(".mjs") && name !== "schemas.mjs" && !current.has(name))
      rmSync(join(folder, name), { force: true });
  }
}

function replace(path: string, contents: Uint8Array): void {
  const partial = `${path}.${process.pid}`;
  writeFileSync(partial, contents);
  renameSync(partial, path);
}
/** What is in a file; nothing where there is none. */
function readOr(path: string): Buffer {
  try {
    return readFileSync(path);
  } catch {
    return Buffer.alloc(0);
  }
}
