import { seededRandom, shuffle } from "@bellwether/protocol/random.ts";
import { err, ok, type Result } from "@bellwether/protocol/result.ts";

/** Whole assets apart: what is learnt from and what the model is measured on. */
export interface AssetSplit {
  readonly learnt: ReadonlySet<string>;
  readonly heldOut: ReadonlySet<string>;
  /** Whether the final model may learn from the held-out ones as well: nobody asked for them to be kept apart. */
  readonly refit: boolean;
}

const HELD_OUT_FRACTION = 0.2;

/**
 * Splits assets that have targets: those the request names are held out for good; without any, a fifth (at least one)
 * is drawn by the seed to measure with.
 */
export function splitAssets(
  history: string,
  known: readonly string[],
  asked: readonly string[] | undefined,
  all: readonly string[],
  seed: number,
): Result<AssetSplit> {
  const tooFew = (actual: number) => err("TRAINING_ASSETS_TOO_FEW", { history, actual, needed: 2 });
  if (asked !== undefined) {
    const unknown = asked.find((asset) => !all.includes(asset));
    if (unknown !== undefined) return err("TRAINING_ASSET_UNKNOWN", { history, asset: unknown });
    const heldOut = new Set(asked);
    const learnt = new Set(known.filter((asset) => !heldOut.has(asset)));
    return learnt.size > 0 ? ok({ learnt, heldOut, refit: false }) : tooFew(0);
  }
  if (known.length < 2) return tooFew(known.length);
  const drawn = shuffle([...known], seededRandom(seed, 2));
  const heldOut = new Set(drawn.slice(0, Math.max(1, Math.round(known.length * HELD_OUT_FRACTION))));
  return ok({ learnt: new Set(known.filter((asset) => !heldOut.has(asset))), heldOut, refit: true });
}
