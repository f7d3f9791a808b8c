import type { FeedScope } from "@bellwether/protocol/topics.ts";
import { hashSecret } from "../governance/tokens.ts";
import type { DevicesStore } from "../store/devices.ts";
import type { DeviceLogin } from "./login.io.ts";

/** Who a connection proved to be. */
export type Identity =
  | { readonly kind: "device"; readonly name: string; readonly site: string }
  | {
      readonly kind: "subscriber";
      readonly name: string;
      readonly sites: readonly string[];
      readonly scope: FeedScope;
    };

/** Who a user name claims to be: `site/device`, or a subscriber's account. */
export interface Claim {
  readonly kind: Identity["kind"];
  readonly name: string;
  readonly site?: string;
}

/** Reads a user name; undefined where it is neither. */
export function claimOf(username: string | undefined): Claim | undefined {
  if (!username) return undefined;
  const [site = "", device, ...more] = username.split("/");
  if (device === undefined) return { kind: "subscriber", name: username };
  return more.length === 0 ? { kind: "device", name: device, site } : undefined;
}

/** Proves a claim by its password: a device's signature over a nonce (`nonce.signatureHex`), an account's secret. */
export async function identify(
  options: { readonly login: DeviceLogin; readonly devices: Pick<DevicesStore, "findSubscriber"> },
  claim: Claim,
  clientId: string,
  password: string,
): Promise<Identity | undefined> {
  const { kind, name } = claim;
  if (kind === "subscriber") {
    const account = await options.devices.findSubscriber({ account: name, hash: hashSecret(password) });
    if (!account) return undefined;
    const { sites, classes } = account;
    return { kind, name: account.account, sites, scope: { sites, classes: classes ?? "all" } };
  }
  // The client id is the device: one connection each, and the newest is the one that counts.
  if (clientId !== name) return undefined;
  const cut = password.lastIndexOf(".");
  const record = await options.login.verify(name, password.slice(0, cut), password.slice(cut + 1));
  return record && record.site === claim.site ? { kind, name, site: record.site } : undefined;
}
