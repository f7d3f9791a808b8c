import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { ROOT } from "./run.io.ts";

/** Source files below some folders, tests left out, that contain a text; in the order of their names. */
export function sourcesWith(folders: readonly string[], text: string): string[] {
  return folders
    .flatMap((folder) => globSync(`${folder}/**/*.ts`, { cwd: ROOT }))
    .filter((path) => !path.endsWith(".test.ts"))
    .map((path) => join(ROOT, path))
    .filter((path) => readFileSync(path, "utf8").includes(text))
    .toSorted();
}
