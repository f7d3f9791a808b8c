import type { DriftReference } from "@bellwether/protocol/reference/drift-reference.ts";
import { parseReference } from "@bellwether/protocol/reference/profile.ts";
import type { Store } from "../store/store.ts";

/** The drift part of a reference, and the channel behind each of its features. */
export interface KnownReference {
  readonly drift: DriftReference;
  readonly channels: ReadonlyMap<string, string>;
}

/** References by their digest, as devices name them. */
export interface References {
  /** Undefined where this server never had that version, its reference is another, or it says nothing of drift. */
  open(model: string, digest: string, reference: string): Promise<KnownReference | undefined>;
}

/** References out of the registry; each is read once. */
export function createReferences(ports: {
  readonly store: Pick<Store, "registry">;
  /** The bytes of a blob. */
  readBlob(digest: string): Promise<Uint8Array>;
}): References {
  const known = new Map<string, KnownReference | undefined>();

  async function read(model: string, digest: string, reference: string): Promise<KnownReference | undefined> {
    const version = await ports.store.registry.findDigest({ model, digest });
    if (version?.manifest.files.reference.digest !== reference) return undefined;
    const parsed = parseReference(await ports.readBlob(reference));
    if (!parsed.ok || parsed.value.drift === undefined) return undefined;
    const channels = version.manifest.features.flatMap(({ name, channel }) =>
      channel ? [[name, channel] as const] : [],
    );
    return { drift: parsed.value.drift, channels: new Map(channels) };
  }

  return {
    async open(model, digest, reference) {
      const key = `${model}/${digest}/${reference}`;
      if (!known.has(key)) known.set(key, await read(model, digest, reference));
      return known.get(key);
    },
  };
}
