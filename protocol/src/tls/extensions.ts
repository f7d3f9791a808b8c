// The few facts of a certificate that node:crypto does not show: which extensions are critical, how far a CA may
// delegate, and what its key is for. OpenSSL has parsed the bytes before; whatever is surprising here is refused.

/** What the extensions of a certificate say, where they say it. */
export interface CertificateFacts {
  /** Object identifiers of critical extensions that nobody here knows. */
  readonly unknownCritical: readonly string[];
  readonly ca: boolean;
  /** CAs that may stand between this one and a server's certificate; absent: any number. */
  readonly pathLength?: number;
  /** Absent where the certificate does not limit its key. */
  readonly keyUsage?: { readonly digitalSignature: boolean; readonly keyCertSign: boolean };
}

interface Element {
  readonly tag: number;
  readonly from: number;
  readonly to: number;
}

const BOOLEAN = 0x01;
const INTEGER = 0x02;
const BIT_STRING = 0x03;
const EXTENSIONS = 0xa3;
const BASIC_CONSTRAINTS = "551d13";
const KEY_USAGE = "551d0f";
/** Subject alternative name and extended key usage: node:crypto itself judges by them. */
const JUDGED_ELSEWHERE = new Set(["551d11", "551d25"]);

/** Reads the extensions of a certificate in DER; throws where it is not built as RFC 5280 says. */
export function factsOf(der: Uint8Array): CertificateFacts {
  const [whole] = elements(der, 0, der.length);
  const [body] = elements(der, whole!.from, whole!.to);
  const block = elements(der, body!.from, body!.to).find(({ tag }) => tag === EXTENSIONS);
  const unknownCritical: string[] = [];
  let facts: Pick<CertificateFacts, "ca" | "pathLength" | "keyUsage"> = { ca: false };
  if (block === undefined) return { ...facts, unknownCritical };
  const [list] = elements(der, block.from, block.to);
  for (const extension of elements(der, list!.from, list!.to)) {
    const parts = elements(der, extension.from, extension.to);
    const id = Buffer.from(der.subarray(parts[0]!.from, parts[0]!.to)).toString("hex");
    const critical = parts[1]!.tag === BOOLEAN && der[parts[1]!.from] !== 0;
    const value = parts.at(-1)!;
    if (id === BASIC_CONSTRAINTS) facts = { ...facts, ...constraintsIn(der, value) };
    else if (id === KEY_USAGE) facts = { ...facts, keyUsage: usageIn(der, value) };
    else if (critical && !JUDGED_ELSEWHERE.has(id)) unknownCritical.push(id);
  }
  return { ...facts, unknownCritical };
}

function constraintsIn(der: Uint8Array, value: Element): Pick<CertificateFacts, "ca" | "pathLength"> {
  const [sequence] = elements(der, value.from, value.to);
  const parts = elements(der, sequence!.from, sequence!.to);
  const ca = parts.some(({ tag, from }) => tag === BOOLEAN && der[from] !== 0);
  const length = parts.find(({ tag }) => tag === INTEGER);
  if (length === undefined) return { ca };
  // More than one byte of CAs below one another does not happen.
  return { ca, pathLength: length.to - length.from === 1 ? der[length.from]! : 0 };
}

function usageIn(der: Uint8Array, value: Element): NonNullable<CertificateFacts["keyUsage"]> {
  const [bits] = elements(der, value.from, value.to);
  if (bits?.tag !== BIT_STRING) throw new Error("a key usage that is no bit string");
  // The first byte counts unused bits; bit 0 is the highest of the next.
  const first = der[bits.from + 1] ?? 0;
  return { digitalSignature: (first & 0x80) !== 0, keyCertSign: (first & 0x04) !== 0 };
}

/** The elements that lie side by side between two places. */
function elements(der: Uint8Array, start: number, end: number): Element[] {
  const found: Element[] = [];
  for (let at = start; at < end; ) {
    const tag = der[at]!;
    let length = der[at + 1] ?? 0;
    let from = at + 2;
    if (length > 0x80) {
      const bytes = length & 0x7f;
      if (bytes > 3) throw new Error("an element longer than any certificate");
      length = 0;
      for (let i = 0; i < bytes; i++) length = length * 256 + (der[from++] ?? 0);
    } else if (length === 0x80) throw new Error("a length without end is no DER");
    if (from + length > end) throw new Error("an element longer than what is around it");
    found.push({ tag, from, to: from + length });
    at = from + length;
  }
  return found;
}
