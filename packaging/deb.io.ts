import { createHash } from "node:crypto";
import {
  chmodSync,
  copyFileSync,
  cpSync,
  type Dirent,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { arch } from "node:os";
import { dirname, join } from "node:path";
import { gzipSync } from "node:zlib";
import { ROOT, runTool } from "./run.io.ts";

const SOURCE = join(ROOT, "packaging/agent");
const NAME = "bellwether-agent";
const DOC = `usr/share/doc/${NAME}`;
const CONFIGURATION = `etc/${NAME}/agent.yaml`;
const ARCHITECTURES: Readonly<Record<string, string>> = { x64: "amd64", arm64: "arm64" };

export interface DebOptions {
  /** The folder `buildExecutable` made. */
  readonly program: string;
  readonly notices: string;
  readonly version: string;
  /** Where the .deb goes. */
  readonly into: string;
  /** xz's level, 0 to 9: what is inside is the same. */
  readonly level: number;
}

/** Makes the .deb, without root, and gives its path. The same contents make the same bytes: times are the changelog's. */
export function buildDeb({ program, notices, version, into, level }: DebOptions): string {
  const changelog = readFileSync(join(SOURCE, "changelog"), "utf8");
  if (!changelog.startsWith(`${NAME} (${version}) `)) {
    throw new Error(`packaging/agent/changelog does not begin with version ${version}: add an entry`);
  }
  const tree = join(into, `${NAME}.tree`);
  rmSync(tree, { recursive: true, force: true });
  cpSync(program, join(tree, "usr/lib", NAME), { recursive: true });
  mkdirSync(join(tree, "usr/bin"), { recursive: true });
  symlinkSync(`../lib/${NAME}/${NAME}`, join(tree, "usr/bin", NAME));
  install(tree, `usr/lib/systemd/system/${NAME}.service`, readFileSync(join(SOURCE, `${NAME}.service`)));
  install(tree, CONFIGURATION, readFileSync(join(SOURCE, "agent.yaml")));
  install(tree, `usr/share/man/man1/${NAME}.1.gz`, compressed(readFileSync(join(SOURCE, `${NAME}.1`))));
  install(tree, `${DOC}/copyright`, readFileSync(join(SOURCE, "copyright")));
  install(tree, `${DOC}/changelog.gz`, compressed(Buffer.from(changelog)));
  install(tree, `${DOC}/third-party.gz`, compressed(Buffer.from(notices)));
  install(tree, `usr/share/lintian/overrides/${NAME}`, readFileSync(join(SOURCE, "lintian-overrides")));
  const architecture = ARCHITECTURES[arch()];
  if (architecture === undefined) throw new Error(`there is no package for ${arch()}: amd64 and arm64 have one`);
  describe(tree, { VERSION: version, ARCHITECTURE: architecture });
  const deb = join(into, `${NAME}_${version}_${architecture}.deb`);
  const epoch = String(Date.parse(/^ -- .*> {2}(.*)$/m.exec(changelog)?.[1] ?? "") / 1_000);
  const env = { ...process.env, SOURCE_DATE_EPOCH: epoch };
  runTool("dpkg-deb", ["--root-owner-group", "-Zxz", `-z${level}`, "--build", tree, deb], { env });
  rmSync(tree, { recursive: true });
  return deb;
}

/** Writes the control files, and makes every folder's mode independent of this machine's umask. */
function describe(tree: string, values: Readonly<Record<string, string>>): void {
  const files = listed(tree)
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(tree.length + 1))
    .sort();
  const bytes = files.reduce((sum, file) => sum + statSync(join(tree, file)).size, 0);
  const all: Readonly<Record<string, string>> = { ...values, INSTALLED_SIZE: String(Math.ceil(bytes / 1_024)) };
  const control = readFileSync(join(SOURCE, "control"), "utf8").replace(/@(\w+)@/g, (_, key: string) => all[key]!);
  const sums = files.map((file) => `${md5(join(tree, file))}  ${file}\n`);
  install(tree, "DEBIAN/control", control);
  install(tree, "DEBIAN/conffiles", `/${CONFIGURATION}\n`);
  install(tree, "DEBIAN/md5sums", sums.join(""));
  for (const script of ["postinst", "prerm", "postrm"]) {
    copyFileSync(join(SOURCE, script), join(tree, "DEBIAN", script));
    chmodSync(join(tree, "DEBIAN", script), 0o755);
  }
  chmodSync(tree, 0o755);
  for (const entry of listed(tree)) if (entry.isDirectory()) chmodSync(join(entry.parentPath, entry.name), 0o755);
}

function listed(tree: string): Dirent[] {
  return readdirSync(tree, { recursive: true, encoding: "utf8", withFileTypes: true });
}

function install(tree: string, path: string, content: Uint8Array | string): void {
  const file = join(tree, path);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, content);
  chmodSync(file, 0o644);
}

/** What the package format asks for: to notice damage, not to hold off anybody. */
function md5(file: string): string {
  return createHash("md5").update(readFileSync(file)).digest("hex");
}

/** Without a time in it, so that it is the same everywhere. */
function compressed(bytes: Uint8Array): Uint8Array {
  return gzipSync(bytes, { level: 9 });
}
