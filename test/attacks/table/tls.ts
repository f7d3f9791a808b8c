import type { TlsOptions } from "node:tls";
import { CLIENT_AUTH, makeCertificate, type TestCertificate } from "../../kit/certificates.ts";
import { type Row, stoppedBy } from "./row.ts";

export const DAY_MS = 86_400_000;

/** What the device pins, and what it knows of the time. */
export interface Pinned {
  readonly ca: TestCertificate;
  readonly nowMs: number;
}
/** What somebody shows who answers in the server's name. */
export interface Shown {
  readonly certificate: TestCertificate;
  readonly chain?: readonly TestCertificate[];
  readonly options?: TlsOptions;
  /** The start of the newest certificate that the device has verified. */
  readonly floorMs?: number;
}
/** The honest server shows a certificate of the pinned CA for its name; of that one thing is changed. */
export interface TlsRow extends Row {
  readonly bend: (pinned: Pinned) => Promise<Shown>;
}

const JUDGED = "the whole path to the pinned CA is verified before a byte is written, whatever the clock says";
const past = (nowMs: number) => ({ fromMs: nowMs - 20 * DAY_MS, toMs: nowMs - DAY_MS });

/** Certificates whose time is over by the device's clock: OpenSSL names that fault only, whatever else is wrong. */
const ALSO_EXPIRED: readonly Omit<TlsRow, "defence">[] = [
  {
    attack: "another CA's certificate that is out of time as well",
    code: "TLS_CA_UNKNOWN",
    bend: async ({ nowMs }) => {
      const other = await makeCertificate({ ca: true, subject: "CN=other" });
      return { certificate: await makeCertificate({ by: other, ...past(nowMs) }) };
    },
  },
  {
    attack: "another server's certificate that is out of time as well",
    code: "TLS_NAME_WRONG",
    bend: async ({ ca, nowMs }) => ({
      certificate: await makeCertificate({ by: ca, names: ["other.example"], ...past(nowMs) }),
    }),
  },
  {
    attack: "a device's certificate that is out of time as well",
    code: "TLS_USAGE_WRONG",
    bend: async ({ ca, nowMs }) => ({
      certificate: await makeCertificate({ by: ca, usages: [CLIENT_AUTH], ...past(nowMs) }),
    }),
  },
];

export const IMPOSTORS: readonly TlsRow[] = [
  ...stoppedBy<TlsRow>(JUDGED, [
    {
      attack: "a CA of the same name",
      code: "TLS_CA_UNKNOWN",
      bend: async () => {
        const sameName = await makeCertificate({ ca: true });
        return { certificate: await makeCertificate({ by: sameName }), chain: [sameName] };
      },
    },
    {
      attack: "a server that vouches for itself",
      code: "TLS_CA_UNKNOWN",
      bend: async () => ({ certificate: await makeCertificate() }),
    },
    {
      attack: "another server of this CA",
      code: "TLS_NAME_WRONG",
      bend: async ({ ca }) => ({ certificate: await makeCertificate({ by: ca, names: ["other.example"] }) }),
    },
    {
      attack: "a device of this CA, as a server",
      code: "TLS_USAGE_WRONG",
      bend: async ({ ca }) => ({ certificate: await makeCertificate({ by: ca, usages: [CLIENT_AUTH] }) }),
    },
    {
      attack: "a device of this CA, as a CA",
      code: "TLS_USAGE_WRONG",
      bend: async ({ ca }) => {
        const device = await makeCertificate({ by: ca, usages: [CLIENT_AUTH], subject: "CN=edge-9", keyUsage: 33 });
        return { certificate: await makeCertificate({ by: device }), chain: [device] };
      },
    },
    {
      attack: "a CA below this CA, as a server",
      code: "TLS_USAGE_WRONG",
      bend: async ({ ca }) => ({
        certificate: await makeCertificate({ ca: true, by: ca, subject: "CN=localhost" }),
      }),
    },
    ...ALSO_EXPIRED,
  ]),
  ...stoppedBy<TlsRow>("what ended before the newest verified certificate began is over, whatever the clock says", [
    {
      attack: "an old certificate, found again",
      code: "TLS_EXPIRED",
      bend: async ({ ca, nowMs }) => ({
        certificate: await makeCertificate({ by: ca, ...past(nowMs) }),
        floorMs: nowMs,
      }),
    },
  ]),
  ...stoppedBy<TlsRow>("TLS 1.2 at least", [
    {
      attack: "an old protocol",
      code: "TLS_FAILED",
      bend: async ({ ca }) => ({
        certificate: await makeCertificate({ by: ca }),
        options: { minVersion: "TLSv1.1", maxVersion: "TLSv1.1", ciphers: "DEFAULT@SECLEVEL=0" },
      }),
    },
  ]),
];
