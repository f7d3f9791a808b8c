import type { X509Certificate } from "node:crypto";
import { verifyClient } from "@bellwether/protocol/tls/verify.ts";
import { publicHexOf } from "@bellwether/protocol/trust/keys.ts";

/** The device that a connection logged in as. */
export interface DeviceShown {
  readonly device: string;
  readonly site: string;
  readonly publicHex: string;
}

/** CAs whose certificates let a device in: the server's own, and those of the owner's PKI. */
export interface DeviceAnchors {
  readonly own: X509Certificate;
  readonly theirs: readonly X509Certificate[];
}

/**
 * Why the certificate that a device showed does not go with it; undefined when it does. One of the server's own CA must
 * be for the device's present key as well; one of the owner's PKI has a key of its own. Either names the device, once.
 */
export function judgeDevice(
  shown: readonly X509Certificate[],
  { own, theirs }: DeviceAnchors,
  { device, publicHex }: DeviceShown,
  nowMs: number,
): string | undefined {
  const [leaf] = shown;
  if (leaf === undefined) return "it showed no certificate";
  const fault = verifyClient(shown, [own, ...theirs], nowMs);
  if (fault !== undefined) return fault;
  // A subject with two names, or one that spells a line break, is a list here.
  const { CN: name } = leaf.toLegacyObject().subject as { readonly CN?: string | readonly string[] };
  if (name !== device) return "its certificate is for somebody else";
  const isOwn = verifyClient([leaf], [own], nowMs) === undefined;
  return isOwn && publicHexOf(leaf.publicKey) !== publicHex ? "its certificate is for an older key" : undefined;
}
