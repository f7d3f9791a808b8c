import { chmodSync, copyFileSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { arch, platform } from "node:os";
import { basename, join } from "node:path";
import { ROOT, runTool } from "./run.io.ts";

const SOURCE = join(ROOT, "packaging/agent");
const MODULES = join(ROOT, "node_modules");
const THIS_MACHINE = `${platform()}-${arch()}`;
/** Where Node looks for a carried program: fixed in Node's own source. */
const FUSE = "NODE_SEA_FUSE_fce680ab2cc467b6e072b8b5df1996b2";
/** What a crash prints of the source: a line, not the program. */
const LINE_CHARACTERS = 200;

/** What the bundle was made of: paths from the checkout. */
export type BundledFiles = readonly string[];

/**
 * Makes the agent's executable for this machine in `into` (made anew), its native addons beside it: Node, stripped, that
 * carries one bundle. Two builds of the same files are the same bytes.
 */
export function buildExecutable(into: string): BundledFiles {
  rmSync(into, { recursive: true, force: true });
  const work = `${into}.work`;
  rmSync(work, { recursive: true, force: true });
  mkdirSync(work, { recursive: true });
  const inputs = bundle(work);
  mkdirSync(into, { recursive: true });
  const runtime = join(MODULES, `onnxruntime-node/bin/napi-v6/${platform()}/${arch()}/libonnxruntime.so.1`);
  const natives = [join(work, `${THIS_MACHINE}.node`), join(work, "onnxruntime_binding.node"), runtime];
  for (const file of natives) installStripped(file, join(into, basename(file)), 0o644);
  const executable = join(into, "bellwether-agent");
  installStripped(process.execPath, executable, 0o755);
  carry(work, executable);
  rmSync(work, { recursive: true });
  return inputs;
}

/** Writes agent.cjs and the addons it requires. */
function bundle(work: string): BundledFiles {
  // The package's own entry searches for its addon at run time; this one requires it by name, which esbuild understands.
  const sqlite = join(MODULES, `better-sqlite3/lib/${THIS_MACHINE}.js`);
  const metafile = join(work, "inputs.json");
  const schemas = compileSchemas(work);
  runTool(
    join(MODULES, ".bin/esbuild"),
    [
      join(SOURCE, "entry.ts"),
      "--bundle",
      "--platform=node",
      "--target=node24",
      "--format=cjs",
      `--outfile=${join(work, "agent.cjs")}`,
      `--metafile=${metafile}`,
      "--log-level=warning",
      // Names stay as they are: a stack trace from the field must say where.
      "--minify-syntax",
      "--minify-whitespace",
      `--line-limit=${LINE_CHARACTERS}`,
      "--legal-comments=none",
      // A function of the `require` that finds the addons: see start.cjs.
      "--banner:js=(function (require) {",
      "--footer:js=})",
      "--loader:.node=copy",
      "--asset-names=[name]",
      `--alias:better-sqlite3=${sqlite}`,
      `--alias:${COMPILES_SCHEMAS}=${schemas}`,
      // So that only this machine's addons are found by name.
      `--define:process.platform=${JSON.stringify(platform())}`,
      `--define:process.arch=${JSON.stringify(arch())}`,
    ],
    { cwd: ROOT },
  );
  const { inputs } = JSON.parse(readFileSync(metafile, "utf8")) as { inputs: Record<string, unknown> };
  return Object.keys(inputs);
}

/** What compiles schemas in a process that runs the sources. */
export const COMPILES_SCHEMAS = "ajv/dist/2020.js";

/** Writes, into a folder, the module that stands for it in a bundle of the agent; answers its path. */
export function compileSchemas(folder: string): string {
  const file = join(folder, "schemas.mjs");
  runTool(process.execPath, [join(ROOT, "packaging/schemas.ts"), file], { cwd: ROOT });
  return file;
}

/** Puts the bundle into the executable, a copy of this Node. */
function carry(work: string, executable: string): void {
  copyFileSync(join(SOURCE, "start.cjs"), join(work, "start.cjs"));
  const description = {
    main: "start.cjs",
    output: "agent.blob",
    disableExperimentalSEAWarning: true,
    // V8's cache of compiled code differs between builds of the same source.
    useCodeCache: false,
    // New space may grow to 48 MB in each thread before V8 collects it: most of what an agent would hold is its garbage.
    execArgv: ["--max-semi-space-size=1"],
    // Options of Node in the environment are no business of a service.
    execArgvExtension: "none",
    assets: { "agent.cjs": "agent.cjs", "start.cjs": "start.cjs" },
  };
  writeFileSync(join(work, "executable.json"), JSON.stringify(description));
  runTool(process.execPath, ["--experimental-sea-config", "executable.json"], { cwd: work });
  runTool(process.execPath, [
    join(MODULES, "postject/dist/cli.js"),
    executable,
    "NODE_SEA_BLOB",
    join(work, "agent.blob"),
    "--sentinel-fuse",
    FUSE,
  ]);
}

/** Symbols that only a debugger reads are a seventh of Node. */
function installStripped(from: string, to: string, mode: number): void {
  copyFileSync(from, to);
  runTool("strip", ["--strip-unneeded", "--remove-section=.comment", to]);
  chmodSync(to, mode);
}
