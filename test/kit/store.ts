import { roleSpawner } from "@bellwether/protocol/process/roles.io.ts";
import { unwrap } from "@bellwether/protocol/result.ts";
import { onTestFinished } from "vitest";
import { openStore, type StoreRole } from "../../fleet-server/src/store/sqlite/store.io.ts";
import type { Store } from "../../fleet-server/src/store/store.ts";
import { temporaryFolder } from "./folder.ts";

/** The real store in a temporary folder (or `dir`), closed when the test ends. */
export async function temporaryStore(dir = temporaryFolder("store-")): Promise<Store> {
  const spawner = roleSpawner<StoreRole>(new URL("../../fleet-server/src/main.ts", import.meta.url));
  const store = unwrap(await openStore({ dir, spawner }));
  onTestFinished(() => store.close());
  return store;
}
