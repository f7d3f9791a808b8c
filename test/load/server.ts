import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { type Api, createApi } from "../../demo/api.io.ts";
import { startBellwether } from "../kit/bellwether.ts";
import { largeModel, testPackage } from "../kit/packages.ts";
import { releaseVersion, uploadTo } from "../kit/release.ts";
import type { LoadOptions } from "./options.ts";

/** The server under load. */
export interface LoadedServer {
  readonly url: string;
  readonly api: Api;
  /** The released version that devices may be given; undefined where nobody named one. */
  released(): Promise<{ readonly model: string; readonly version: string } | undefined>;
  /** Resident memory in MB, as the server says. */
  rssMb(): Promise<number>;
  stop(): Promise<void>;
}

const MODEL_FACTOR = 10;

/** The server that the options name, or one that is started below a folder. */
export async function serverOf({ server: other, modelMb }: LoadOptions, folder: string): Promise<LoadedServer> {
  if (other !== undefined) {
    const token = readFileSync(other.tokenFile, "utf8").trim();
    return { ...reached(other.url, token), released: async () => other.rollOut, stop: async () => undefined };
  }
  const dir = join(folder, "server");
  mkdirSync(dir);
  const own = await startBellwether({ dir, until: "caller", config: "rollouts: {tickMs: 200}\n" });
  return {
    ...reached(own.url, own.admin),
    async released() {
      const files = testPackage(largeModel(MODEL_FACTOR, modelMb));
      const { version } = await uploadTo(own, files);
      await releaseVersion(own, files.manifest.model, version);
      return { model: files.manifest.model, version: String(version) };
    },
    stop: () => own.stop(),
  };
}

function reached(url: string, token: string): Pick<LoadedServer, "url" | "api" | "rssMb"> {
  return {
    url,
    api: createApi(url, token),
    async rssMb() {
      const answer = await fetch(new URL("/metrics", url), { headers: { authorization: `Bearer ${token}` } });
      const bytes = /^process_resident_memory_bytes (\S+)$/m.exec(await answer.text())?.[1];
      return Math.round(Number(bytes) / 1_048_576);
    },
  };
}
