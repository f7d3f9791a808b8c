import { execFileSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import { join, resolve } from "node:path";

const root = resolve(import.meta.dirname, "../..");

/** The agent's .deb of this checkout, and what is in it, unpacked as dpkg would, outside the checkout. */
export interface PackagedAgent {
  readonly deb: string;
  /** Where the package's `/` is. */
  readonly files: string;
  /** The command a user would type. */
  readonly command: `/${string}`;
  /** The file that runs. */
  readonly executable: string;
}

/** `npm run package` into `folder`, packed quickly: what is inside is the same. */
export function packageAgent(folder: string, umask = "022"): PackagedAgent {
  const command = 'umask "$1"; exec npm run --silent package -- --out "$2" --level 0';
  const args = ["-c", command, "sh", umask, join(folder, "dist")];
  const { deb } = JSON.parse(execFileSync("/bin/sh", args, { cwd: root, encoding: "utf8" })) as { deb: string };
  const files = join(folder, "unpacked");
  mkdirSync(files, { recursive: true });
  execFileSync("dpkg-deb", ["-x", deb, files]);
  return {
    deb,
    files,
    command: `/${join(files, "usr/bin/bellwether-agent").slice(1)}`,
    executable: join(files, "usr/lib/bellwether-agent/bellwether-agent"),
  };
}
