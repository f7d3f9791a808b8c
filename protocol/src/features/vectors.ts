import type { TelemetryRow } from "../messages/stream.ts";
import { ok, type Result } from "../result.ts";
import { AssetFeatures, type ChannelSource, readRow } from "./asset.ts";
import { compileFeatures, type FeatureManifest } from "./program.ts";
import type { WindowQuality } from "./windows.ts";

/** One feature vector of history. */
export interface Vector {
  readonly asset: string;
  /** Time of the window's newest row. */
  readonly observedAtMs: number;
  /** Index, in the given rows, of the row that made the vector due. */
  readonly row: number;
  readonly features: Float64Array;
  readonly quality: WindowQuality;
  /** Raw window, oldest row first; only when asked for. */
  readonly window?: Float64Array[];
}

export interface VectorsOptions {
  /** Where each model channel comes from; without it, the channel of the same name in the model's unit. */
  readonly sources?: readonly ChannelSource[];
  /** Keep a copy of each vector's raw window. */
  readonly windows?: boolean;
}

/**
 * The feature vectors of history, by the very code and in the very order of the agent: rows of one asset must come in
 * time order (late ones are left out, as on a device), assets may be mixed.
 */
export function vectorsOf(
  manifest: FeatureManifest,
  rows: Iterable<Pick<TelemetryRow, "asset" | "observedAtMs" | "values">>,
  options: VectorsOptions = {},
): Result<Vector[]> {
  const program = compileFeatures(manifest);
  if (!program.ok) return program;
  const conversion = { scale: 1, offset: 0, same: true };
  const sources = options.sources ?? manifest.channels.map(({ channel }) => ({ channel, conversion }));
  const assets = new Map<string, AssetFeatures>();
  const scratch = new Float64Array(sources.length);
  const vectors: Vector[] = [];
  let index = 0;
  for (const row of rows) {
    let asset = assets.get(row.asset);
    if (asset === undefined) {
      asset = new AssetFeatures(program.value);
      assets.set(row.asset, asset);
    }
    readRow(row, sources, scratch);
    const features = asset.push(row.observedAtMs, scratch);
    if (features !== undefined) {
      vectors.push({
        asset: row.asset,
        observedAtMs: row.observedAtMs,
        row: index,
        features,
        quality: asset.quality(),
        ...(options.windows === true ? { window: asset.copyRows() } : {}),
      });
    }
    index += 1;
  }
  return ok(vectors);
}
