import type { InferenceRecord } from "@bellwether/protocol/messages/stream.ts";
import { digestOfSlot } from "../../agent/src/trust/verified-model.ts";
import type { UpdaterPorts } from "../../agent/src/update/runner.io.ts";

/** Inferences a second of the pipeline that is not there. */
const INFERENCES_PER_SECOND = 100;
const LATENCY = { medianLatencyUs: 90, p99LatencyUs: 100 };

/** Stands where an agent's pipeline stands for its updater: serves one model, counts inferences, and computes none. */
export class CountedServing implements Pick<UpdaterPorts, "serve" | "figures"> {
  #served: { readonly model: string; readonly digest: string; readonly atMs: number } | undefined;

  async serve(...[model, serving]: Parameters<UpdaterPorts["serve"]>): ReturnType<UpdaterPorts["serve"]> {
    this.#served = serving && { model, digest: digestOfSlot(serving.slotDir), atMs: Date.now() };
    return {};
  }

  async figures(): ReturnType<UpdaterPorts["figures"]> {
    if (this.#served === undefined) return [];
    const { model, digest, atMs } = this.#served;
    const inferences = Math.floor(((Date.now() - atMs) * INFERENCES_PER_SECOND) / 1_000);
    return [{ model, digest, inferences, errors: 0, ...LATENCY }];
  }

  /** What the served model says of an asset now; nothing where none is served. */
  prediction(asset: string, observedAtMs: number): InferenceRecord | undefined {
    if (this.#served === undefined) return undefined;
    const { model, digest } = this.#served;
    return { asset, observedAtMs, model, version: 1, digest, value: 1, latencyUs: LATENCY.p99LatencyUs };
  }
}
