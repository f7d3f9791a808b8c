import { ok, type Result, unwrap } from "@bellwether/protocol/result.ts";
import { makeDevelopmentKeys } from "../../fleet-server/src/cli/development.io.ts";
import { openKeys, readKeyFolder } from "../../fleet-server/src/cli/key-folder.io.ts";
import { emptyRepository } from "../../fleet-server/src/registry/first-metadata.io.ts";
import { readRoot } from "../../fleet-server/src/registry/read-metadata.ts";
import type { Registry, ReleaseOrder } from "../../fleet-server/src/registry/registry.io.ts";
import { type ReleaseRequest, signRequest } from "../../fleet-server/src/registry/release-request.ts";
import {
  openRepository,
  type ReleaseRepository,
  type WantedChange,
} from "../../fleet-server/src/registry/repository.io.ts";
import type { Publication } from "../../fleet-server/src/registry/repository-state.ts";

/** A release repository, with development keys beside its folder where it is new. */
export async function ownedRepository(dir: string, now: () => number = Date.now): Promise<ReleaseRepository> {
  await makeDevelopmentKeys(emptyRepository(dir, now), keysOf(dir), now());
  return unwrap(await openRepository(dir, now));
}

/** Where a repository's development keys are. */
export const keysOf = (dir: string): string => `${dir}-keys`;

/** The targets metadata an owner signs for a request, with the keys of this folder. */
export async function signedFor(request: ReleaseRequest, keysDir: string, nowMs = Date.now()): Promise<Result<string>> {
  const folder = unwrap(await readKeyFolder(keysDir));
  const keys = unwrap(await openKeys(folder, async () => undefined)).map(({ pair }) => pair);
  const signing = signRequest(request, { root: unwrap(readRoot(folder.root!)).metadata, keys }, nowMs);
  return signing.ok ? ok(signing.value.targets) : signing;
}

/** The owner of a repository's offline keys, who signs whatever is asked and has it published. */
export function ownerOf(repository: ReleaseRepository, dir: string, now: () => number = Date.now) {
  async function order(...changes: WantedChange[]): Promise<Result<Publication>> {
    const request = await repository.request(changes);
    if (!request.ok) return request;
    const targets = await signedFor(request.value, keysOf(dir), now());
    if (!targets.ok) return targets;
    return repository.publish({ roots: [], targets: targets.value }, "owner", async () => ok(undefined));
  }
  return { order };
}

/** The same through a registry, which knows the versions. */
export function registryOwner(registry: Registry, dir: string) {
  return async (...orders: ReleaseOrder[]): Promise<Result<Publication>> => {
    const request = await registry.request(orders);
    if (!request.ok) return request;
    const targets = await signedFor(request.value, keysOf(dir));
    return targets.ok ? registry.publish({ roots: [], targets: targets.value }, { by: "owner", admin: true }) : targets;
  };
}
