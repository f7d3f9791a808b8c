import { existsSync } from "node:fs";
import { resolve } from "node:path";

/** Where the public data sets are (see docs/OPERATIONS.md), or undefined on a machine that has none. */
export function sharedData(...path: string[]): string | undefined {
  return find("BELLWETHER_DATA", "data", path);
}

/** Where the third-party models are, or undefined on a machine that has none. */
export function sharedModels(...path: string[]): string | undefined {
  return find("BELLWETHER_MODELS", "models", path);
}

function find(variable: string, folder: string, path: string[]): string | undefined {
  const root = resolve(import.meta.dirname, "../..");
  const candidates = [process.env[variable], resolve(root, "../shared", folder), resolve(root, "../../shared", folder)];
  return candidates
    .filter((base) => base !== undefined)
    .map((base) => resolve(base, ...path))
    .find((full) => existsSync(full));
}
