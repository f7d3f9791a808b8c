import { type DevelopmentKeysMade, makeDevelopmentKeys, repositoryIn } from "./development.io.ts";

/** Runs in a child before the server starts: makes development keys where the data directory has no repository. */
export async function runDevelopmentKeys(): Promise<void> {
  const [dataDir, keysDir] = process.argv.slice(3) as [string, string];
  const answer: DevelopmentKeysMade = { made: await makeDevelopmentKeys(repositoryIn(dataDir), keysDir, Date.now()) };
  process.send?.(answer, () => process.disconnect());
}
