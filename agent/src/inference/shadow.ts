import type { InferenceRecord } from "@bellwether/protocol/messages/stream.ts";
import type { Manifest } from "@bellwether/protocol/package/manifest.ts";
import { crosses } from "./debounce.ts";
import type { ShadowFigures } from "./pipeline.ts";
import type { Predictor } from "./predictor.ts";

/**
 * A candidate beside the model that serves. It sees the same rows; what it says is noted with the other's predictions
 * and summed up, and is neither a prediction nor an alert of the device.
 */
export class Shadow {
  readonly predictor: Predictor;
  #compared = 0;
  #differences = 0;
  #judged = 0;
  #agreed = 0;

  constructor(predictor: Predictor) {
    this.predictor = predictor;
    // It may have served before: what it did then is no evidence for it now.
    predictor.resetFigures();
  }

  /** This one, where it is the shadow of that predictor. */
  of(predictor: Predictor): Shadow | undefined {
    return this.predictor === predictor ? this : undefined;
  }

  /** Runs what is due, and notes it with the records of the model that serves. */
  async compare(serving: Manifest, records: readonly InferenceRecord[]): Promise<readonly InferenceRecord[]> {
    const { records: own } = await this.predictor.flush();
    if (own.length === 0) return records;
    const byVector = new Map(own.map((record) => [vectorOf(record), record]));
    return records.map((record) => {
      const other = byVector.get(vectorOf(record));
      if (other === undefined) return record;
      const { digest, value, error } = other;
      if (record.value !== undefined && value !== undefined) this.#add(serving, record.value, value);
      const noted = { digest, ...(value === undefined ? {} : { value }), ...(error === undefined ? {} : { error }) };
      return { ...record, shadow: noted };
    });
  }

  figures(): ShadowFigures {
    const { inferences, errors, medianLatencyUs, p99LatencyUs } = this.predictor.figures();
    return {
      digest: this.predictor.session.digest,
      inferences,
      errors,
      medianLatencyUs,
      p99LatencyUs,
      compared: this.#compared,
      ...(this.#compared === 0 ? {} : { meanDifference: this.#differences / this.#compared }),
      ...(this.#judged === 0 ? {} : { agreement: this.#agreed / this.#judged }),
    };
  }

  #add(serving: Manifest, servingValue: number, ownValue: number): void {
    this.#compared++;
    this.#differences += Math.abs(ownValue - servingValue);
    const { alert } = this.predictor.session.manifest;
    if (serving.alert === undefined || alert === undefined) return;
    this.#judged++;
    if (crosses(serving.alert, servingValue) === crosses(alert, ownValue)) this.#agreed++;
  }
}

function vectorOf({ asset, observedAtMs }: InferenceRecord): string {
  return `${asset}/${observedAtMs}`;
}
