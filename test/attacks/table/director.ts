import { sealEnvelope } from "@bellwether/protocol/trust/envelope.ts";
import { BOTH, FOREIGN, NEW, OLD } from "../../kit/releases.ts";
import { directorBytes, KEYS, sealed, targetsBody } from "../../kit/tuf.ts";
import { stoppedBy, type UpdateRow } from "./row.ts";

const { targets: TARGETS, thief: THIEF } = KEYS;

const ROWS: readonly UpdateRow[] = [
  ...stoppedBy<UpdateRow>("device, version and expiry stand in the signed document", [
    {
      attack: "a document for another device",
      code: "DIRECTOR_WRONG_DEVICE",
      bend: () => directorBytes(3, [NEW], { device: "edge-2" }),
    },
    {
      attack: "a document older than one that was taken",
      code: "DIRECTOR_ROLLBACK",
      bend: () => directorBytes(1, [NEW]),
    },
    {
      attack: "a document that has expired",
      code: "DIRECTOR_EXPIRED",
      bend: () => directorBytes(3, [NEW], { issuedAtMs: Date.now() - 7_200_000 }),
    },
  ]),
  ...stoppedBy<UpdateRow>("the offline targets name the director's key, and the envelope is signed by it", [
    {
      attack: "a document signed by a key that the owners do not name",
      code: "ENVELOPE_UNKNOWN_KEY",
      bend: () => directorBytes(3, [NEW], { key: THIEF }),
    },
    {
      attack: "a document under a key that the owners have taken away",
      code: "ENVELOPE_UNKNOWN_KEY",
      bend: (repository) => repository.publish(4, BOTH, { targets: [4, sealed(targetsBody(4, BOTH, THIEF), TARGETS)] }),
    },
    {
      attack: "a document changed after it was signed",
      code: "ENVELOPE_SIGNATURE_INVALID",
      bend: () => {
        const envelope = JSON.parse(directorBytes(3, [OLD]).toString("utf8")) as { payload: string };
        const other = JSON.parse(directorBytes(3, [NEW]).toString("utf8")) as { payload: string };
        return Buffer.from(JSON.stringify({ ...envelope, payload: other.payload }));
      },
    },
    {
      attack: "a signed envelope of another kind",
      code: "ENVELOPE_WRONG_TYPE",
      bend: () => {
        const { payload } = JSON.parse(directorBytes(3, [NEW]).toString("utf8")) as { payload: string };
        const other = "application/vnd.bellwether.other+json";
        return Buffer.from(JSON.stringify(sealEnvelope(other, Buffer.from(payload, "base64"), KEYS.director)));
      },
    },
  ]),
  ...stoppedBy<UpdateRow>("a schema, a size and a depth for every document", [
    { attack: "a document that is no JSON", code: "INVALID_JSON", bend: () => Buffer.from("{") },
    {
      attack: "a document that lacks what it must have",
      code: "INVALID_SHAPE",
      bend: () => Buffer.from(JSON.stringify({ payload: "e30=" })),
    },
  ]),
  ...stoppedBy<UpdateRow>("director and targets must agree on digest, length and release counter", [
    {
      attack: "a document that names what nobody released",
      code: "NOT_IN_TARGETS",
      bend: () => directorBytes(3, [FOREIGN]),
    },
    {
      attack: "a document that names a release with another manifest",
      code: "NOT_IN_TARGETS",
      bend: () => directorBytes(3, [NEW], { model: { manifestDigest: FOREIGN.manifestDigest } }),
    },
    {
      attack: "a document that names a release with another length",
      code: "NOT_IN_TARGETS",
      bend: () => directorBytes(3, [NEW], { model: { manifestLength: 99 } }),
    },
    {
      attack: "a document that names a release by an older counter",
      code: "NOT_IN_TARGETS",
      bend: () => directorBytes(3, [NEW], { model: { releaseCounter: 1 } }),
    },
    {
      attack: "a document that names a release which was withdrawn",
      code: "NOT_IN_TARGETS",
      bend: (repository) => repository.publish(4, [OLD]),
    },
  ]),
];

/** Edition 3 names both releases; each row is the director's third document but for one thing. Nothing is fetched. */
export const DIRECTOR: readonly UpdateRow[] = ROWS.map((row) => ({
  ...row,
  bounded: ({ asked }) => !asked.some((path) => path.startsWith("blobs/")),
}));
