import type { Store } from "../store/store.ts";
import { type Incompatible, incompatibility } from "./compatibility.ts";

/** Tells which devices cannot run a version, by what they said of themselves. */
export type FindIncompatible = (asked: {
  readonly model: string;
  readonly manifestDigest: string;
  readonly devices: readonly string[];
}) => Promise<readonly Incompatible[]>;

/** Devices whose births are read side by side. */
const AT_ONCE = 100;

/** Judges devices by their births in the store. */
export function createCompatibility(store: Pick<Store, "devices" | "registry">): FindIncompatible {
  return async ({ model, manifestDigest, devices }) => {
    const version = await store.registry.findDigest({ model, digest: manifestDigest });
    if (!version) return [];
    const found: Incompatible[] = [];
    for (let from = 0; from < devices.length; from += AT_ONCE) {
      const some = devices.slice(from, from + AT_ONCE);
      const births = await Promise.all(some.map((device) => store.devices.births({ device })));
      some.forEach((device, i) => {
        const problem = incompatibility(version.manifest, births[i] ?? []);
        if (problem) found.push({ device, code: problem.code, reason: problem.message });
      });
    }
    return found;
  };
}
