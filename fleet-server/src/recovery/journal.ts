/** A change that was made through the API, as it is kept outside the store: who, what, when, and no body. */
export interface JournalEntry {
  readonly atMs: number;
  readonly by: string;
  readonly operation: string;
  /** Method and path: "POST /v1/devices/gw-1/revoke". */
  readonly target: string;
}

/** What somebody took back: a restored server must not give it again. */
export type Revocation =
  | { readonly kind: "device"; readonly device: string; readonly phase: "revoked" | "wiped" }
  | { readonly kind: "token" | "enrolmentToken"; readonly id: string }
  | { readonly kind: "subscriber"; readonly account: string }
  | { readonly kind: "release"; readonly model: string; readonly version: number };

type Parts = readonly string[];
const REVOCATIONS: Readonly<Record<string, (parts: Parts) => Revocation>> = {
  revokeDevice: ([device = ""]) => ({ kind: "device", device, phase: "revoked" }),
  rejectDevice: ([device = ""]) => ({ kind: "device", device, phase: "revoked" }),
  resetDevice: ([device = ""]) => ({ kind: "device", device, phase: "wiped" }),
  revokeToken: ([id = ""]) => ({ kind: "token", id }),
  revokeEnrolmentToken: ([id = ""]) => ({ kind: "enrolmentToken", id }),
  revokeSubscriber: ([account = ""]) => ({ kind: "subscriber", account }),
  withdrawModelVersion: ([model = "", , version]) => ({ kind: "release", model, version: Number(version) }),
};

/** The revocation an entry is of; undefined for every other change. */
export function revocationOf({ operation, target }: JournalEntry): Revocation | undefined {
  const [, , , ...names] = (target.split(" ")[1] ?? "").split("/");
  return Object.hasOwn(REVOCATIONS, operation) ? REVOCATIONS[operation]?.(names.map(decodeURIComponent)) : undefined;
}

/** The entries of a file; a last line that a power cut tore is left out. */
export function entriesOf(text: string): JournalEntry[] {
  return text.split("\n").flatMap((line) => {
    try {
      return line === "" ? [] : [JSON.parse(line) as JournalEntry];
    } catch {
      return [];
    }
  });
}
