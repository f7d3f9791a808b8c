/** What a person's or a program's token may do. `admin` includes every other role; each of the others includes `viewer`. */
export const ROLES = ["viewer", "operator", "releaser", "approver", "admin"] as const;
export type Role = (typeof ROLES)[number];

/** Who may call a route: everybody, a device with its own login token, or a token with at least this role. */
export type Access = "public" | "device" | Role;

/** Who is calling. `sites` undefined means every site. */
export type Caller =
  | { readonly kind: "nobody" }
  | { readonly kind: "device"; readonly device: string; readonly site: string }
  | {
      readonly kind: "token";
      readonly id: string;
      readonly name: string;
      readonly roles: readonly Role[];
      readonly sites?: readonly string[];
    };

/** Whether the caller may use a route with this access (one, or any of several). */
export function allows(access: Access | readonly Access[], caller: Caller): boolean {
  if (typeof access !== "string") return access.some((one) => allows(one, caller));
  if (access === "public") return true;
  if (access === "device") return caller.kind === "device";
  if (caller.kind !== "token" || caller.roles.length === 0) return false;
  return access === "viewer" || caller.roles.includes(access) || caller.roles.includes("admin");
}

/**
 * Whether the caller may see what belongs to `site`. What it may not see must look exactly as if it did not exist.
 */
export function seesSite(caller: Caller, site: string): boolean {
  if (caller.kind === "device") return caller.site === site;
  return caller.kind === "token" && (caller.sites === undefined || caller.sites.includes(site));
}

/** The sites a list must be limited to; undefined means no limit, an empty list means nothing at all. */
export function siteScope(caller: Caller): readonly string[] | undefined {
  if (caller.kind === "token") return caller.sites;
  return caller.kind === "device" ? [caller.site] : [];
}

/** The caller's name in the audit log. */
export function callerName(caller: Caller): string {
  if (caller.kind === "nobody") return "nobody";
  return caller.kind === "device" ? `device:${caller.device}` : `token:${caller.id}:${caller.name}`;
}
