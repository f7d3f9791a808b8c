import { err, ok, type Result } from "@bellwether/protocol/result.ts";
import { type ConfirmRule, type DirectedModel, sealDirector } from "@bellwether/protocol/trust/director.ts";
import type { KeyPair } from "@bellwether/protocol/trust/keys.ts";
import type { DesiredState } from "../store/director.ts";
import type { Store } from "../store/store.ts";

/** How long a director document holds; it is renewed at half of that, on connect and by the clock. */
export const DIRECTOR_LIFE_MS = 7 * 86_400_000;

/** Chooses, for each device, among what was released: signs the document and sends it. */
export interface Director {
  /** `version` null asks the device to stop running the model. */
  assign(assignment: {
    readonly device: string;
    readonly model: string;
    readonly version: number | null;
    readonly rollout?: string;
    readonly confirm: ConfirmRule;
  }): Promise<Result<{ readonly directorVersion: number }>>;
  /** Asks a device for the models that another one was asked for; what it was asked for itself stays. */
  inherit(from: string, device: string): Promise<void>;
  /** The newest document, sealed; one that has used up half of its life is issued anew. Undefined where there is none. */
  newest(device: string): Promise<Buffer | undefined>;
  /** Sends the newest document again: a device listens now. */
  resend(device: string): Promise<void>;
  /** A device reported: where it has seen a newer document than there is (of a store that was lost), it gets a newer one. */
  reported(device: string): Promise<void>;
}

export interface DirectorPorts {
  readonly store: Pick<Store, "director">;
  /** The key that the newest targets name. */
  key(): KeyPair;
  /** What the image repository says of a version; undefined when it is not released. */
  releaseOf(
    model: string,
    version: number,
  ): Pick<DirectedModel, "manifestDigest" | "manifestLength" | "releaseCounter" | "cohort"> | undefined;
  publish(device: string, document: Uint8Array): void;
  now(): number;
}

/** Until when a document holds, as expiries are watched: devices that are there get a newer one in time. */
export function documentExpiry({ version, issuedAtMs }: { readonly version: number; readonly issuedAtMs: number }) {
  const expiresAtMs = issuedAtMs + DIRECTOR_LIFE_MS;
  return { role: "director", version, expiresAtMs, lifeMs: DIRECTOR_LIFE_MS, renewedBy: "server" } as const;
}

/** A director over the store. */
export function createDirector(ports: DirectorPorts): Director {
  function seal(desired: DesiredState): Buffer {
    const models = desired.models.flatMap((wanted): DirectedModel[] => {
      const release = ports.releaseOf(wanted.model, wanted.version);
      // A release that was withdrawn meanwhile is asked of nobody any more.
      if (!release) return [];
      const { model, version, confirm, rollout, assignedIn } = wanted;
      const { manifestDigest, manifestLength, releaseCounter, cohort } = release;
      return [
        {
          model,
          version,
          manifestDigest,
          manifestLength,
          releaseCounter,
          ...(cohort ? { cohort } : {}),
          confirm,
          ...(rollout ? { rollout } : {}),
          ...(assignedIn ? { assignedIn } : {}),
        },
      ];
    });
    return sealDirector(
      {
        v: 1,
        device: desired.device,
        version: desired.version,
        issuedAtMs: desired.issuedAtMs,
        expiresAtMs: desired.issuedAtMs + DIRECTOR_LIFE_MS,
        models,
        remove: [...desired.remove],
      },
      ports.key(),
    );
  }
  async function newest(device: string): Promise<Buffer | undefined> {
    let desired = await ports.store.director.get({ device });
    if (desired && ports.now() - desired.issuedAtMs > DIRECTOR_LIFE_MS / 2) {
      desired = await ports.store.director.change({ device, nowMs: ports.now() });
    }
    return desired && seal(desired);
  }
  async function resend(device: string): Promise<void> {
    const document = await newest(device);
    if (document) ports.publish(device, document);
  }
  return {
    async assign({ device, model, version, rollout, confirm }) {
      if (version !== null && !ports.releaseOf(model, version)) {
        return err("ROLLOUT_VERSION_NOT_RELEASED", { model, version, phase: "not among the targets" });
      }
      const desired = await ports.store.director.change({
        device,
        nowMs: ports.now(),
        ...(version === null
          ? { remove: model }
          : { set: { model, version, confirm, ...(rollout ? { rollout } : {}) } }),
      });
      ports.publish(device, seal(desired));
      return ok({ directorVersion: desired.version });
    },
    async inherit(from, device) {
      const [theirs, own] = [
        await ports.store.director.get({ device: from }),
        await ports.store.director.get({ device }),
      ];
      const has = new Set(own?.models.map(({ model }) => model));
      for (const { model, version, confirm } of theirs?.models ?? []) {
        if (has.has(model) || !ports.releaseOf(model, version)) continue;
        await ports.store.director.change({ device, set: { model, version, confirm }, nowMs: ports.now() });
      }
    },
    newest,
    resend,
    async reported(device) {
      if (await ports.store.director.overtake({ device, nowMs: ports.now() })) await resend(device);
    },
  };
}
