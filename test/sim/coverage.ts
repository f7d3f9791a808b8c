import { readdirSync, readFileSync } from "node:fs";
import { Session } from "node:inspector/promises";
import { stripTypeScriptTypes } from "node:module";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";

const ROOT = resolve(import.meta.dirname, "../..");

/** The rooms whose logic the simulation must run, each with what of it is a shell to the world. */
const ROOMS: readonly (readonly [room: string, path: RegExp])[] = [
  ["buffer", /\/agent\/src\/buffer\/[^/]+\.ts$/],
  ["link", /\/agent\/src\/link\/[^/]+\.ts$/],
  ["update", /\/agent\/src\/update\/[^/]+\.ts$/],
  ["ingest", /\/fleet-server\/src\/(ingest\/[^/]+|store\/sqlite\/ingest[^/]*)\.ts$/],
  ["rollouts", /\/fleet-server\/src\/(rollouts\/[^/]+|devices\/director\.io|store\/sqlite\/rollouts)\.ts$/],
];

/** Lines of one file that hold code, and how many of them ran. */
interface FileCoverage {
  readonly file: string;
  readonly room: string;
  readonly lines: number;
  readonly ran: number;
}

/** V8's own counts of this process, from `begin` on. */
export class Coverage {
  readonly #session = new Session();

  async begin(): Promise<void> {
    this.#session.connect();
    await this.#session.post("Profiler.enable");
    await this.#session.post("Profiler.startPreciseCoverage", { callCount: true, detailed: true });
  }

  async end(): Promise<FileCoverage[]> {
    const { result } = await this.#session.post("Profiler.takePreciseCoverage");
    this.#session.disconnect();
    const byFile = new Map(result.map(({ url, functions }) => [url, functions.flatMap((one) => one.ranges)]));
    const sources = ["agent/src", "fleet-server/src"].flatMap((folder) =>
      readdirSync(join(ROOT, folder), { recursive: true, encoding: "utf8" }).map((name) => join(folder, name)),
    );
    return sources.sort().flatMap((file) => {
      const room = ROOMS.find(([, path]) => path.test(`/${file}`))?.[0];
      if (room === undefined || file.endsWith(".test.ts")) return [];
      const path = join(ROOT, file);
      const source = readFileSync(path, "utf8");
      // What was never even loaded did not run.
      const nothing = [{ startOffset: 0, endOffset: source.length, count: 0 }];
      return [{ file, room, ...countLines(source, byFile.get(pathToFileURL(path).href) ?? nothing) }];
    });
  }
}

/** Types are no code: what stripping leaves of a line must run, unless it is a bracket, an import or a comment. */
function countLines(
  source: string,
  ranges: readonly { readonly startOffset: number; readonly endOffset: number; readonly count: number }[],
): { lines: number; ran: number } {
  // The innermost range decides; V8 gives outer ranges before inner ones.
  const counts = new Int32Array(source.length).fill(1);
  const ordered = [...ranges].sort((a, b) => b.endOffset - b.startOffset - (a.endOffset - a.startOffset));
  for (const { startOffset, endOffset, count } of ordered) counts.fill(count, startOffset, endOffset);
  let at = 0;
  let lines = 0;
  let ran = 0;
  for (const line of stripTypeScriptTypes(source).split("\n")) {
    const code = line.trim();
    const first = at + line.length - line.trimStart().length;
    at += line.length + 1;
    if (!/[A-Za-z0-9]/.test(code) || /^(\/\/|\/\*|\*|import |export \{|\} from )/.test(code)) continue;
    lines++;
    if ((counts[first] ?? 0) > 0) ran++;
  }
  return { lines, ran };
}

/** What ran of each room: its cores, and beside them the shells that the simulation runs too. */
export function tellCoverage(files: readonly FileCoverage[]): string {
  const isShell = ({ file }: FileCoverage) => /\.(io|worker)\.ts$/.test(file);
  const share = (some: readonly FileCoverage[]) => {
    const lines = some.reduce((sum, one) => sum + one.lines, 0);
    const ran = some.reduce((sum, one) => sum + one.ran, 0);
    return `${lines === 0 ? "-" : ((100 * ran) / lines).toFixed(1).padStart(5)} % of ${String(lines).padStart(4)} lines`;
  };
  const rows = ROOMS.map(([room]) => {
    const own = files.filter((one) => one.room === room);
    return `${room.padEnd(9)} cores ${share(own.filter((one) => !isShell(one)))}, with shells ${share(own)}`;
  });
  const least = files
    .filter((one) => one.ran / one.lines < 0.85)
    .map(({ file, lines, ran }) => `  ${((100 * ran) / lines).toFixed(0).padStart(3)} % of ${lines} lines: ${file}`);
  const cores = `all       cores ${share(files.filter((one) => !isShell(one)))}, with shells ${share(files)}`;
  return [...rows, cores, "below 85 %:", ...least].join("\n");
}
