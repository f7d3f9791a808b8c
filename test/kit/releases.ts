import { testPackage, timesModel } from "./packages.ts";
import { releaseOf, type TestRepository } from "./tuf.ts";

/** Limits of models that must not be judged by how busy the machine is. */
export const PATIENT = { limits: { p99LatencyMs: 10_000, memoryMb: 256 } } as const;

/** What the attacked device runs, what its owners released after it, and what nobody released. */
export const OLD = releaseOf(testPackage(timesModel(10), [10, 20, 30], PATIENT), 1);
export const NEW = releaseOf(testPackage(timesModel(20), [20, 40, 60], PATIENT), 2);
export const BOTH = [OLD, NEW];
export const FOREIGN = releaseOf(testPackage(timesModel(30), [30, 60, 90], PATIENT), 3);

const ENDLESS_BYTES = 64 * 1_048_576;

/** Answers with more bytes than anybody should take; how many were taken. */
export function endless(repository: TestRepository, path: string, headers = {}, chunk = Buffer.alloc(65_536, "[")) {
  const sent = { bytes: 0 };
  repository.answers.set(path, (_, response) => {
    response.writeHead(200, headers);
    const go = () => {
      while (!response.closed && sent.bytes < ENDLESS_BYTES && response.write(chunk)) sent.bytes += chunk.byteLength;
      if (sent.bytes >= ENDLESS_BYTES) response.destroy();
    };
    response.on("drain", go);
    go();
  });
  return sent;
}
