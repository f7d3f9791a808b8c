import { execFileSync } from "node:child_process";
import { globSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs";
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

/** A file that imports what its rule forbids; `to` is a file that must be there for it. */
interface Planted {
  readonly rule: string;
  readonly from: string;
  readonly core?: boolean;
  readonly specifier: string;
  readonly to?: string;
}

const ARROWS: readonly Planted[] = [
  {
    rule: "agent-and-server-apart",
    from: "agent/src/link",
    specifier: "../../../fleet-server/src/broker/b.ts",
    to: "fleet-server/src/broker/b.ts",
  },
  {
    rule: "server-and-agent-apart",
    from: "fleet-server/src/broker",
    specifier: "../../../agent/src/link/b.ts",
    to: "agent/src/link/b.ts",
  },
  {
    rule: "protocol-stands-alone",
    from: "protocol/src",
    specifier: "../../agent/src/link/b.ts",
    to: "agent/src/link/b.ts",
  },
  {
    rule: "demo-through-public-interfaces",
    from: "demo",
    specifier: "../agent/src/link/b.ts",
    to: "agent/src/link/b.ts",
  },
  {
    rule: "production-knows-no-test",
    from: "agent/src/link",
    specifier: "../../../test/kit/b.ts",
    to: "test/kit/b.ts",
  },
  {
    rule: "core-imports-core",
    from: "agent/src/link",
    core: true,
    specifier: "./c.io.ts",
    to: "agent/src/link/c.io.ts",
  },
  {
    rule: "no-sibling-core-at-run-time-from-core",
    from: "agent/src/link",
    core: true,
    specifier: "../buffer/b.ts",
    to: "agent/src/buffer/b.ts",
  },
  { rule: "no-sibling-shell", from: "agent/src/link", specifier: "../buffer/c.io.ts", to: "agent/src/buffer/c.io.ts" },
  { rule: "core-touches-no-world", from: "agent/src/link", core: true, specifier: "node:fs" },
  { rule: "mqtt-in-one-folder", from: "agent/src/inputs", specifier: "mqtt" },
  { rule: "better-sqlite3-in-one-folder", from: "fleet-server/src/api", specifier: "better-sqlite3" },
  { rule: "sessions-from-verified-models", from: "agent/src/inference", specifier: "onnxruntime-node" },
  { rule: "onnxruntime-node-in-one-folder", from: "agent/src/update", specifier: "onnxruntime-node" },
  { rule: "resolvable", from: "agent/src/link", specifier: "./nowhere.ts" },
];

/** Where an arrow's violation is planted: a file of its own, core where the rule is about core. */
const fileOf = ({ rule, from, core }: Planted) => `${from}/${rule}${core ? "" : ".io"}.ts`;

/** All violations in one tree, for the tool takes as long for one file as for twenty. */
function planted(): Verdict {
  const folder = temporaryFolder("arrows-");
  symlinkSync(join(root, "node_modules"), join(folder, "node_modules"));
  const write = (path: string, text: string) => {
    mkdirSync(join(folder, dirname(path)), { recursive: true });
    writeFileSync(join(folder, path), text);
  };
  for (const arrow of ARROWS) {
    if (arrow.to !== undefined) write(arrow.to, "export const x = 1;\nexport type X = number;\n");
    write(fileOf(arrow), `import { x } from "${arrow.specifier}";\nexport const y = x;\n`);
  }
  return cruise(folder, [...new Set(ARROWS.map(({ from }) => from.split("/")[0]!))]);
}

describe("the import rules", () => {
  let verdict: Verdict | undefined;
  it.each(ARROWS)("$rule", (arrow) => {
    verdict ??= planted();
    const { summary } = verdict;
    const own = summary.violations.filter(({ from }) => from === fileOf(arrow));
    expect(own.map(({ rule }) => rule.name)).toContain(arrow.rule);
  });

  it("hold in the real tree, every source file of which was read", () => {
    const { summary } = cruise(root, ["protocol", "agent", "fleet-server"]);
    expect(summary.violations).toEqual([]);
    const sources = globSync("{protocol,agent,fleet-server}/src/**/*.ts", { cwd: root });
    expect(sources.length).toBeGreaterThan(300);
    expect(summary.totalCruised).toBeGreaterThanOrEqual(sources.length);
  });
});
