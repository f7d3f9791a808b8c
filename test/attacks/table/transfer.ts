import { gzipSync } from "node:zlib";
import { digestOf } from "@bellwether/protocol/package/check.ts";
import { testPackage, timesModel } from "../../kit/packages.ts";
import { BOTH, endless, NEW, OLD } from "../../kit/releases.ts";
import {
  directorBytes,
  KEYS,
  releaseOf,
  rootBody,
  sealed,
  snapshotBody,
  type TestRelease,
  timestampBody,
  type Versioned,
} from "../../kit/tuf.ts";
import { honestTargets } from "./metadata.ts";
import { type Bend, stoppedBy, type UpdateRow } from "./row.ts";

const { snapshot: SNAPSHOT, timestamp: TIMESTAMP } = KEYS;
const [ROOT_1, ROOT_2] = KEYS.root;
const TAKEN_MAX_BYTES = 32 * 1_048_576;
const honestRoot: Bend = (repository) => {
  repository.publish(3, BOTH);
  repository.metadata("2.root.json", sealed(rootBody(2), ROOT_1, ROOT_2));
};

/** One metadata file goes on for ever; whoever has stolen the online keys may vouch for any length. */
function endlessFile(name: string): Omit<UpdateRow, "defence"> {
  let sent = { bytes: 0 };
  return {
    attack: `a ${name} that never ends`,
    code: "METADATA_TOO_LONG",
    reason: /longer than (32768|1048576) bytes/,
    bend: (repository) => {
      const named = { version: 3, length: 1e15 };
      const targets = honestTargets(3);
      const honest = snapshotBody(3, targets);
      const vast = { ...honest, meta: { "targets.json": named } };
      const snapshot: Versioned = [3, sealed(name === "3.targets.json" ? vast : honest, SNAPSHOT)];
      const timestamp = { ...timestampBody(3, snapshot), meta: { "snapshot.json": named } };
      const bent = name === "3.snapshot.json" ? { timestamp: sealed(timestamp, TIMESTAMP) } : {};
      repository.publish(3, BOTH, { targets, snapshot, ...bent });
      sent = endless(repository, `repository/metadata/${name}`);
    },
    bounded: () => sent.bytes < TAKEN_MAX_BYTES,
  };
}

let unpacked = { bytes: 0 };
const LENGTHS = stoppedBy<UpdateRow>(
  "a cap on every metadata file, whatever it or its name says, in a worker of its own",
  [
    ...["timestamp.json", "2.root.json", "3.snapshot.json", "3.targets.json"].map(endlessFile),
    {
      attack: "a timestamp that unpacks without end",
      code: "METADATA_TOO_LONG",
      reason: /longer than 32768 bytes/,
      bend: (repository) => {
        // Members of a gzip file may follow each other: the same megabyte again and again.
        const megabyte = gzipSync(Buffer.alloc(1_048_576));
        unpacked = endless(repository, "repository/metadata/timestamp.json", { "content-encoding": "gzip" }, megabyte);
      },
      bounded: () => unpacked.bytes < TAKEN_MAX_BYTES,
    },
    {
      attack: "a root of 344 KB that nobody signed, slow to parse",
      code: "METADATA_TOO_LONG",
      reason: /longer than 32768 bytes/,
      honest: honestRoot,
      bend: (repository) => {
        const key = (i: number) => [`${i}`, { keytype: "ed25519", scheme: "ed25519", keyval: { public: `${i}` } }];
        const keys = Object.fromEntries(Array.from({ length: 4_200 }, (_, i) => key(i))) as object;
        repository.metadata("2.root.json", sealed({ ...rootBody(2), keys }));
      },
    },
    {
      attack: "a timestamp that is not JSON",
      code: "METADATA_UNREADABLE",
      reason: /JSON/,
      bend: (repository) => repository.publish(3, BOTH, { timestamp: Buffer.from("[".repeat(30_000)) }),
    },
  ],
);

/** The honest file under another host's name, which a device that followed would take. */
function redirect(path: string, code: string): Omit<UpdateRow, "defence"> {
  return {
    attack: `a redirect of ${path.replace(/sha256:.*/, "a manifest")} to another host`,
    code,
    reason: /redirect/,
    bend: (repository) => {
      const other = `${path}?elsewhere`;
      repository.files.set(other, repository.files.get(path)!);
      const location = `${repository.url.replace("127.0.0.1", "localhost")}/v1/${other}`;
      repository.answers.set(path, (_, response) => void response.writeHead(302, { location }).end());
    },
    bounded: ({ asked }) => !asked.some((one) => one.includes("elsewhere")),
    again: true,
  };
}

let dripping = 0;
const SLOW = stoppedBy<UpdateRow>("time limits on answers and their silence; tried again when nobody drips", [
  {
    attack: "a body that drips",
    code: "METADATA_UNREACHABLE",
    reason: /timeout/i,
    bend: (repository) =>
      repository.answers.set("repository/metadata/timestamp.json", (_, response) => {
        response.writeHead(200);
        dripping++;
        const drip = setInterval(() => response.write(" "), 50);
        response.on("close", () => {
          dripping--;
          clearInterval(drip);
        });
      }),
    bounded: () => dripping === 0,
    again: true,
  },
]);

/** Says that the device holds this file already. */
const unchanged =
  (name: string): Bend =>
  (repository) => {
    repository.publish(3, BOTH);
    repository.answers.set(`repository/metadata/${name}`, (_, response) => void response.writeHead(304).end());
  };
const UNCHANGED = stoppedBy<UpdateRow>("what the device does not hold it wants", [
  {
    attack: "the word that a file is not new which the device never had (304)",
    code: "METADATA_REFUSED",
    reason: /304/,
    bend: unchanged("3.snapshot.json"),
  },
]);

const REDIRECTS = stoppedBy<UpdateRow>("redirects are not followed", [
  redirect("repository/metadata/timestamp.json", "METADATA_UNREACHABLE"),
  redirect(`blobs/${NEW.manifestDigest}`, "DOWNLOAD_FAILED"),
]);

const MODEL_BLOB = NEW.blobs.reduce((longest, blob) => (blob.byteLength > longest.byteLength ? blob : longest));
const GOLDEN_BLOB = testPackage(timesModel(20), [20, 40, 60]).files.golden;
const blobPath = (blob: Uint8Array) => `blobs/${digestOf(blob)}`;
const flipped = (blob: Uint8Array) => {
  const bytes = Buffer.from(blob);
  bytes[bytes.length >> 1]! ^= 1;
  return bytes;
};
const served =
  (blob: Uint8Array, bytes: Uint8Array): Bend =>
  (repository) =>
    repository.files.set(blobPath(blob), Buffer.from(bytes));

const BLOBS: readonly UpdateRow[] = [
  ...stoppedBy<UpdateRow>("the signed manifest names each file's digest, the signed targets the manifest's", [
    {
      attack: "a manifest with a bit flipped",
      code: "DIGEST_MISMATCH",
      bend: served(NEW.manifest, flipped(NEW.manifest)),
    },
    { attack: "a model with a bit flipped", code: "DIGEST_MISMATCH", bend: served(MODEL_BLOB, flipped(MODEL_BLOB)) },
    {
      attack: "another release's golden vectors",
      code: "DIGEST_MISMATCH",
      bend: served(GOLDEN_BLOB, Buffer.alloc(GOLDEN_BLOB.byteLength)),
    },
  ]),
  ...stoppedBy<UpdateRow>("the signed manifest names each file's length", [
    {
      attack: "a model with something appended",
      code: "DOWNLOAD_TOO_LONG",
      bend: served(MODEL_BLOB, Buffer.concat([MODEL_BLOB, Buffer.of(0)])),
    },
    {
      attack: "a model that is too short",
      code: "DOWNLOAD_FAILED",
      bend: served(MODEL_BLOB, MODEL_BLOB.subarray(1)),
    },
    {
      attack: "a model that never ends",
      code: "DOWNLOAD_TOO_LONG",
      bend: (repository) => endless(repository, blobPath(MODEL_BLOB)),
    },
  ]),
];

type Changes = Parameters<typeof testPackage>[2];
const oddRelease = (changes: Changes, version = 2) =>
  releaseOf(
    testPackage(timesModel(20), [20, 40, 60], { limits: { p99LatencyMs: 10_000, memoryMb: 256 }, ...changes }),
    version,
  );
const releasing =
  (release: TestRelease): Bend =>
  (repository) => {
    repository.publish(3, [OLD, release]);
    return directorBytes(3, [release]);
  };
const forHardware = (architecture: "x64" | "arm64") =>
  oddRelease({ compatibility: { opset: 17, executionProviders: ["cpu"], architectures: [architecture] } });
const OWN = forHardware(process.arch === "x64" ? "x64" : "arm64");
const OTHER = forHardware(process.arch === "x64" ? "arm64" : "x64");

const MANIFESTS = stoppedBy<UpdateRow>("the device holds the manifest against itself and against what released it", [
  {
    attack: "a package for other hardware",
    code: "MODEL_WRONG_ARCHITECTURE",
    honest: releasing(OWN),
    runs: OWN,
    bend: releasing(OTHER),
  },
  {
    attack: "a manifest that speaks of another version",
    code: "NOT_IN_TARGETS",
    bend: releasing({ ...oddRelease({}, 7), version: 2 }),
  },
  {
    attack: "a manifest that speaks of another model",
    code: "NOT_IN_TARGETS",
    bend: releasing({ ...oddRelease({ model: "fan-rul" }), model: "pump-rul" }),
  },
]);

export const TRANSFER: readonly UpdateRow[] = [...LENGTHS, ...SLOW, ...UNCHANGED, ...REDIRECTS];
export const PACKAGES: readonly UpdateRow[] = [...BLOBS, ...MANIFESTS];
