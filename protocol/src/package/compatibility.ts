import { bindChannels } from "../features/asset.ts";
import { err, ok, type Result } from "../result.ts";
import type { Manifest } from "./manifest.ts";

/** What a device offers a model: known from its birth, so a server can ask the same question while it plans. */
export interface DeviceOffer {
  /** As in process.arch. */
  readonly arch: string;
  readonly memoryMb: number;
  /** Three numbers: "1.2.3". */
  readonly agentVersion: string;
  /** By asset: channel -> unit. */
  readonly assets: ReadonlyMap<string, ReadonlyMap<string, string>>;
  /** The device's binding for this model, where its configuration has one. */
  readonly binding?: {
    readonly assets?: readonly string[] | undefined;
    readonly channels: Readonly<Record<string, string>>;
  };
}

/** As much of an offer as is known: a server may have heard only part of it. */
export type KnownOffer = { readonly [K in keyof DeviceOffer]?: DeviceOffer[K] | undefined };

/**
 * Whether a model fits a device: every code it answers means REJECTED, never FAILED. A model fits when one asset at
 * least has its channels, in units that convert. What is not known of the device is not held against it.
 */
export function compatible(
  manifest: Pick<Manifest, "model" | "version" | "channels" | "compatibility" | "limits">,
  offer: KnownOffer,
): Result<void> {
  const { model, version, compatibility } = manifest;
  const { architectures, minMemoryMb, minAgentVersion } = compatibility;
  if (offer.arch !== undefined && !(architectures as readonly string[]).includes(offer.arch)) {
    return err("MODEL_WRONG_ARCHITECTURE", { model, version, expected: architectures, actual: offer.arch });
  }
  const neededMb = Math.max(minMemoryMb ?? 0, manifest.limits.memoryMb);
  if (offer.memoryMb !== undefined && neededMb > offer.memoryMb) {
    return err("MODEL_NEEDS_MEMORY", { model, version, expected: neededMb, actual: offer.memoryMb });
  }
  const { agentVersion, assets, binding } = offer;
  if (
    minAgentVersion !== undefined &&
    agentVersion !== undefined &&
    compareVersions(agentVersion, minAgentVersion) < 0
  ) {
    return err("MODEL_NEEDS_AGENT", { model, version, expected: minAgentVersion, actual: agentVersion });
  }
  return assets === undefined ? ok(undefined) : fitsAnAsset(manifest, { assets, binding });
}

function fitsAnAsset(
  { model, version, channels }: Pick<Manifest, "model" | "version" | "channels">,
  { assets, binding }: { readonly assets: DeviceOffer["assets"]; readonly binding: DeviceOffer["binding"] | undefined },
): Result<void> {
  let reason = "the device has no asset";
  for (const [asset, offered] of assets) {
    if (binding?.assets !== undefined && !binding.assets.includes(asset)) continue;
    const bound = bindChannels(channels, offered, binding?.channels);
    if (bound.ok) return ok(undefined);
    reason = `${asset}: ${bound.error.message}`;
  }
  return err("MODEL_FITS_NO_ASSET", { model, version, reason });
}

/** Negative when a is older than b; the parts are numbers ("0.10.0" is newer than "0.9.0"). */
function compareVersions(a: string, b: string): number {
  const [left, right] = [a, b].map((text) => text.split(/[.+-]/).slice(0, 3).map(Number));
  for (let i = 0; i < 3; i++) {
    const difference = (left![i] ?? 0) - (right![i] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}
