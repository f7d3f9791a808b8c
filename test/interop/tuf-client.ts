#!/usr/bin/env node
/**
 * The agent's own handling of release metadata and downloads behind the command line that the TUF project's conformance
 * suite drives (docs/TUF-CONFORMANCE.md):
 *
 *     tuf-client.ts --metadata-dir DIR init ROOT
 *     tuf-client.ts --metadata-dir DIR --metadata-url URL refresh
 *     tuf-client.ts --metadata-dir DIR --metadata-url URL --target-name NAME… --target-dir DIR --target-base-url URL download
 */
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { digestOf } from "@bellwether/protocol/package/check.ts";
import { DIRECT } from "@bellwether/protocol/tls/transport.ts";
import { downloadBlob } from "../../agent/src/update/download.io.ts";
import { withTrusted } from "../../agent/src/update/metadata.worker.ts";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    "metadata-dir": { type: "string" },
    "metadata-url": { type: "string" },
    "target-name": { type: "string", multiple: true },
    "target-dir": { type: "string" },
    "target-base-url": { type: "string" },
  },
});
const [command, ...rest] = positionals;

type Option = "metadata-dir" | "metadata-url" | "target-dir" | "target-base-url";
function need(name: Option): string {
  const value = values[name];
  if (value === undefined) throw new Error(`--${name} is missing`);
  return value;
}

const metadataDir = need("metadata-dir");
/** Where the agent's code keeps what it trusts; the suite looks at copies beside it. */
const kept = join(metadataDir, "kept");
const pinned = join(kept, "pinned");

function init(root: string): void {
  mkdirSync(kept, { recursive: true });
  copyFileSync(root, pinned);
  copyFileSync(root, join(metadataDir, "root.json"));
}

/** Brings the metadata up to date, then fetches these targets one after the other. */
async function refresh(names: readonly string[]): Promise<void> {
  const request = {
    dir: join(kept, "tuf"),
    metadataUrl: need("metadata-url"),
    token: "nobody asks for one",
    transport: DIRECT,
    rootMetadata: readFileSync(pinned, "utf8"),
    nowMs: Date.now(),
  };
  try {
    const { found, failed, byDigest } = await withTrusted(request, async (updater, trusted) => {
      const byDigest = trusted.root.signed.consistentSnapshot;
      const found: Wanted[] = [];
      for (const name of names) {
        const info = await updater.getTargetInfo(name);
        if (!info) return { found, byDigest, failed: `${name} is no target` };
        found.push(info);
      }
      return { found, byDigest };
    });
    for (const info of found) await fetchTarget(info, byDigest);
    if (failed !== undefined) throw new Error(failed);
  } finally {
    showTrusted();
  }
}

interface Wanted {
  readonly path: string;
  readonly length: number;
  readonly hashes: Readonly<Record<string, string>>;
}

async function fetchTarget({ path, length, hashes }: Wanted, byDigest: boolean): Promise<void> {
  const hex = hashes["sha256"];
  if (hex === undefined) throw new Error(`${path} has no SHA-256`);
  const cut = path.lastIndexOf("/") + 1;
  const file = byDigest ? `${path.slice(0, cut)}${hex}.${path.slice(cut)}` : path;
  const name = encodeURIComponent(path);
  const partial = join(kept, `${name}.partial`);
  const final = join(need("target-dir"), name);
  if (existsSync(final) && digestOf(readFileSync(final)) === `sha256:${hex}`) return;
  const done = await downloadBlob({
    url: `${need("target-base-url").replace(/\/$/, "")}/${file.split("/").map(encodeURIComponent).join("/")}`,
    token: "nobody asks for one",
    file: partial,
    what: path,
    digest: `sha256:${hex}`,
    length,
  });
  if (!done.ok) {
    rmSync(partial, { force: true });
    throw new Error(`${done.error.code}: ${done.error.message}`);
  }
  copyFileSync(partial, final);
  rmSync(partial);
}

/** Copies what is trusted now to where the suite looks. */
function showTrusted(): void {
  const dir = join(kept, "tuf");
  const current = readdirSync(dir).includes("current") ? readFileSync(join(dir, "current"), "utf8") : undefined;
  if (current === undefined) return;
  const folder = join(dir, `generation-${current}`);
  const trusted = readdirSync(folder);
  for (const name of readdirSync(metadataDir)) {
    if (name.endsWith(".json") && !trusted.includes(name)) rmSync(join(metadataDir, name));
  }
  for (const name of trusted) copyFileSync(join(folder, name), join(metadataDir, name));
}

try {
  if (command === "init" && rest[0] !== undefined) init(rest[0]);
  else if (command === "refresh") await refresh([]);
  else if (command === "download") await refresh(values["target-name"] ?? []);
  else throw new Error("init ROOT, refresh or download");
} catch (cause) {
  process.stderr.write(`${(cause as Error).stack}\n`);
  process.exitCode = 1;
}
