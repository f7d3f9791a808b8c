import { readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import type { BundledFiles } from "./executable.io.ts";
import { ROOT } from "./run.io.ts";

interface PackageJson {
  readonly name: string;
  readonly version: string;
  readonly license?: string;
}

/** The notices of everything that others wrote and the package carries: Node, and each npm package in the bundle. */
export function thirdPartyNotices(bundled: BundledFiles): string {
  const folders = new Set(bundled.flatMap((file) => /^.*node_modules\/(?:@[^/]+\/)?[^/]+/.exec(file)?.[0] ?? []));
  const npm = [...folders].map((folder) => notice(join(ROOT, folder)));
  const node = readLicence(dirname(dirname(process.execPath))) ?? missing("Node's own licence");
  const texts = [`Node.js ${process.versions.node}\n\n${node}`, ...npm.sort()];
  return texts.map((text) => `${text.trim()}\n`).join(`\n${"=".repeat(78)}\n\n`);
}

function notice(folder: string): string {
  const { name, version, license } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8")) as PackageJson;
  const text = readLicence(folder);
  // A few packages name their licence and leave its text out.
  if (text === undefined && license === undefined) return missing(`a licence of ${name}`);
  return [`${name} ${version}`, `Licence: ${license ?? "below"}`, text ?? ""].join("\n\n");
}

function readLicence(folder: string): string | undefined {
  const file = readdirSync(folder).find((entry) => /^licen[cs]e/i.test(entry));
  return file === undefined ? undefined : readFileSync(join(folder, file), "utf8");
}

function missing(what: string): never {
  throw new Error(`${what} is not to be found: it cannot be passed on without`);
}
