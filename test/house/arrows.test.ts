import { execFileSync } from "node:child_process";
import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { describe, expect, it } from "vitest";
import { temporaryFolder } from "../kit/folder.ts";

const root = resolve(import.meta.dirname, "../..");

interface Verdict {
  readonly summary: {
    readonly totalCruised: number;
    readonly violations: { readonly rule: { readonly name: string }; readonly from: string }[];
  };
}

function cruise(folder: string, targets: string[]): Verdict {
  const args = ["--config", join(root, ".dependency-cruiser.mjs"), "--output-type", "json", ...targets];
  const run = () =>
    execFileSync(
      process.execPath,
      [join(root, "node_modules/dependency-cruiser/bin/dependency-cruiser.mjs"), ...args],
      {
        cwd: folder,
        maxBuffer: 64 * 1024 * 1024,
        stdio: ["ignore", "pipe", "ignore"],
      },
    );
  try {
    return JSON.parse(run().toString()) as Verdict;
  } catch (cause) {
    // The tool exits with the number of violations; its report is on standard output all the same.
    return JSON.parse((cause as { stdout: Buffer }).stdout.toString()) as Verdict;
  }
}

/** A tree with one planted violation: `files` maps a path to its text. */
function plant(files: Record<string, string>): Verdict {
  const folder = temporaryFolder("arrows-");
  symlinkSync(join(root, "node_modules"), join(folder, "node_modules"));
  for (const [path, text] of Object.entries({ "protocol/src/ok.ts": "export const ok = 1;\n", ...files })) {
    mkdirSync(join(folder, dirname(path)), { recursive: true });
    writeFileSync(join(folder, path), text);
  }
  return cruise(folder, [...new Set(Object.keys(files).map((path) => path.split("/")[0] as string)), "protocol"]);
}

const target = (path: string) => ({ [path]: "export const x = 1;\nexport type X = number;\n" });

describe("the import rules", () => {
  it.each([
    [
      "agent-and-server-apart",
      "agent/src/link/a.io.ts",
      "../../../fleet-server/src/broker/b.ts",
      "fleet-server/src/broker/b.ts",
    ],
    [
      "server-and-agent-apart",
      "fleet-server/src/broker/a.io.ts",
      "../../../agent/src/link/b.ts",
      "agent/src/link/b.ts",
    ],
    ["protocol-stands-alone", "protocol/src/a.ts", "../../agent/src/link/b.ts", "agent/src/link/b.ts"],
    ["demo-through-public-interfaces", "demo/a.ts", "../agent/src/link/b.ts", "agent/src/link/b.ts"],
    ["production-knows-no-test", "agent/src/link/a.io.ts", "../../../test/kit/b.ts", "test/kit/b.ts"],
    ["core-imports-core", "agent/src/link/a.ts", "./b.io.ts", "agent/src/link/b.io.ts"],
    ["no-sibling-core-at-run-time-from-core", "agent/src/link/a.ts", "../buffer/b.ts", "agent/src/buffer/b.ts"],
    ["no-sibling-shell", "agent/src/link/a.io.ts", "../buffer/b.io.ts", "agent/src/buffer/b.io.ts"],
  ])("%s", (rule, from, specifier, to) => {
    const { summary } = plant({ [from]: `import { x } from "${specifier}";\nexport const y = x;\n`, ...target(to) });
    expect(summary.violations.map((violation) => violation.rule.name)).toContain(rule);
  });

  it.each([
    ["core-touches-no-world", "agent/src/link/a.ts", "node:fs"],
    ["mqtt-in-one-folder", "agent/src/inputs/a.io.ts", "mqtt"],
    ["better-sqlite3-in-one-folder", "fleet-server/src/api/a.ts", "better-sqlite3"],
    ["onnxruntime-node-in-one-folder", "agent/src/update/a.io.ts", "onnxruntime-node"],
    ["resolvable", "agent/src/link/a.io.ts", "./nowhere.ts"],
  ])("%s", (rule, from, specifier) => {
    const { summary } = plant({ [from]: `import * as x from "${specifier}";\nexport const y = x;\n` });
    expect(summary.violations.map((violation) => violation.rule.name)).toContain(rule);
  });

  it("hold in the real tree, every source file of which was read", () => {
    const { summary } = cruise(root, ["protocol", "agent", "fleet-server"]);
    expect(summary.violations).toEqual([]);
    const sources = execFileSync("git", ["ls-files", "protocol", "agent", "fleet-server"], { cwd: root })
      .toString()
      .split("\n")
      .filter((path) => path.endsWith(".ts"));
    expect(summary.totalCruised).toBeGreaterThanOrEqual(sources.length);
  });
});
