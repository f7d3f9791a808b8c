import { unwrap } from "@bellwether/protocol/result.ts";
import { onTestFinished } from "vitest";
import { openStore, type StoreRole } from "../../fleet-server/src/store/sqlite/store.io.ts";
import type { Store } from "../../fleet-server/src/store/store.ts";
import { temporaryFolder } from "./folder.ts";
import { programSpawner } from "./programs.ts";

/** The real store in a temporary folder (or `dir`), closed when the test ends. */
export async function temporaryStore(dir = temporaryFolder("store-")): Promise<Store> {
  const spawner = programSpawner<StoreRole>("bellwether");
  const store = unwrap(await openStore({ dir, spawner }));
  onTestFinished(() => store.close());
  return store;
}
