import { createHash } from "node:crypto";
import { Readable } from "node:stream";
import { TimeMs } from "@bellwether/protocol/ids.ts";
import { err, ok } from "@bellwether/protocol/result.ts";
import { integer, oneOf } from "@bellwether/protocol/schema.ts";
import { Type } from "typebox";
import type { ExpiryWatch } from "../registry/expiry-watch.io.ts";
import type { ReleaseRepository } from "../registry/repository.io.ts";
import { defineRoute, type Route } from "./route.ts";

export interface RepositoryRoutesDeps {
  readonly repository: ReleaseRepository;
  readonly expiries: Pick<ExpiryWatch, "expiries">;
}

const closed = { additionalProperties: false } as const;
const ExpiryView = Type.Object(
  {
    role: Type.String({
      description:
        "root, targets, snapshot, timestamp, a retraining role, director (the documents), tls or tls-ca (certificates).",
    }),
    version: integer(),
    expiresAtMs: TimeMs,
    daysLeft: Type.Number(),
    alarm: Type.Union([Type.Literal("expired"), Type.Number(), Type.Null()], {
      description: "The alarm that was reached: within that many days, or over.",
    }),
    renewedBy: oneOf(["owners", "server"]),
  },
  closed,
);

/** Signed JSON, byte for byte. */
export function jsonArtifact(bytes: Uint8Array, immutable: boolean) {
  return {
    contentType: "application/json",
    etag: createHash("sha256").update(bytes).digest("hex"),
    length: bytes.length,
    immutable,
    open: (from: number, to: number) => Readable.from([bytes.subarray(from, to + 1)]),
  };
}

/** The image repository as TUF clients read it. Manifests and models are blobs and are fetched by their digests. */
export function repositoryRoutes({ repository, expiries }: RepositoryRoutesDeps): Route[] {
  return [
    defineRoute({
      method: "GET",
      path: "/v1/repository/expiries",
      operation: "listExpiries",
      summary:
        "When signed metadata, director documents and TLS certificates expire, with alarms 30, 14 and 3 days before.",
      role: "viewer",
      answer: Type.Object({ items: Type.Array(ExpiryView) }, closed),
      handler: async () => ok({ items: (await expiries.expiries()).map(({ lifeMs: _, ...one }) => one) }),
    }),
    defineRoute({
      method: "GET",
      path: "/v1/repository/metadata/:file",
      operation: "getRepositoryMetadata",
      summary: "Signed TUF metadata: 1.root.json, timestamp.json, N.snapshot.json, N.targets.json, N.ROLE.json.",
      tag: "repository",
      role: ["device", "viewer"],
      params: { file: Type.String({ maxLength: 192 }) },
      answer: "artifact",
      errors: ["NOT_FOUND"],
      handler: async ({ params }) => {
        const bytes = await repository.metadata(params.file);
        return bytes
          ? ok(jsonArtifact(bytes, params.file !== "timestamp.json"))
          : err("NOT_FOUND", { what: "metadata", name: params.file });
      },
    }),
    defineRoute({
      method: "GET",
      path: "/v1/repository/targets/:file",
      operation: "getRepositoryTarget",
      summary: "The target that names the director's keys.",
      tag: "repository",
      role: ["device", "viewer"],
      params: { file: Type.String({ maxLength: 128 }) },
      answer: "artifact",
      errors: ["NOT_FOUND"],
      handler: async ({ params }) => {
        const bytes = repository.target(params.file);
        return bytes ? ok(jsonArtifact(bytes, false)) : err("NOT_FOUND", { what: "target", name: params.file });
      },
    }),
  ];
}
