import { createHash } from "node:crypto";
import { Readable } from "node:stream";
import { err, ok } from "@bellwether/protocol/result.ts";
import { Type } from "typebox";
import type { ReleaseRepository } from "../registry/repository.io.ts";
import { defineRoute, type Route } from "./route.ts";

export interface RepositoryRoutesDeps {
  readonly repository: ReleaseRepository;
}

/** The image repository as TUF clients read it. Manifests and models are blobs and are fetched by their digests. */
export function repositoryRoutes({ repository }: RepositoryRoutesDeps): Route[] {
  const answer = (bytes: Buffer, immutable: boolean) =>
    ok({
      contentType: "application/json",
      etag: createHash("sha256").update(bytes).digest("hex"),
      length: bytes.length,
      immutable,
      open: (from: number, to: number) => Readable.from([bytes.subarray(from, to + 1)]),
    });
  return [
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
          ? answer(bytes, params.file !== "timestamp.json")
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
        return bytes ? answer(bytes, false) : err("NOT_FOUND", { what: "target", name: params.file });
      },
    }),
  ];
}
