import type { Problem } from "@bellwether/protocol/errors.ts";
import type { BirthMessage } from "@bellwether/protocol/messages/device.ts";
import { compatible, type DeviceOffer, type KnownOffer } from "@bellwether/protocol/package/compatibility.ts";
import type { Manifest } from "@bellwether/protocol/package/manifest.ts";

/** A device that a rollout leaves out, and why: the code its own refusal would have had. */
export interface Incompatible {
  readonly device: string;
  readonly code: string;
  readonly reason: string;
}

/** Devices give their memory in whole megabytes: half of one is never held against them. */
const MEMORY_ROUNDING_MB = 0.5;

/**
 * What a device's births say it offers a model. What they do not say stays unknown: an asset whose birth has not come
 * yet, or an agent too old to tell how its configuration binds models.
 */
export function offerOf(births: readonly BirthMessage[], model: string): KnownOffer {
  const session = births.reduce((newest, birth) => Math.max(newest, birth.session), 0);
  const newest = births.filter((birth) => birth.session === session);
  const [first] = newest;
  if (!first) return {};
  const memoryMb = Number(first.facts["memoryMb"] ?? Number.NaN);
  return {
    arch: first.facts["arch"],
    memoryMb: Number.isFinite(memoryMb) ? memoryMb + MEMORY_ROUNDING_MB : undefined,
    agentVersion: first.agentVersion,
    ...(newest.length >= first.of ? sensorsOf(newest, model) : {}),
  };
}

function sensorsOf(births: readonly BirthMessage[], model: string): Pick<KnownOffer, "assets" | "binding"> {
  const bound = births.map(({ asset, bindings }) => ({
    asset,
    known: bindings !== undefined,
    channels: bindings && Object.hasOwn(bindings, model) ? bindings[model] : undefined,
  }));
  if (bound.some(({ known }) => !known)) return {};
  const assets = new Map(
    births.map(({ asset, channels }) => [asset, new Map(channels.map(({ channel, unit }) => [channel, unit]))]),
  );
  if (bound.every(({ channels }) => channels === undefined)) return { assets };
  const meant = bound.filter(({ channels }) => channels !== null);
  const binding: DeviceOffer["binding"] = {
    assets: meant.map(({ asset }) => asset),
    channels: meant.find(({ channels }) => channels)?.channels ?? {},
  };
  return { assets, binding };
}

/** Why a device that says this of itself cannot run the model; undefined when nothing it said speaks against it. */
export function incompatibility(manifest: Manifest, births: readonly BirthMessage[]): Problem | undefined {
  const fits = compatible(manifest, offerOf(births, manifest.model));
  return fits.ok ? undefined : fits.error;
}
