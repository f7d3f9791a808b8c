import { Digest, Name } from "@bellwether/protocol/ids.ts";
import { BLOB_BYTES_MAX, Manifest } from "@bellwether/protocol/package/manifest.ts";
import { err, ok } from "@bellwether/protocol/result.ts";
import { integer, mapOf, oneOf } from "@bellwether/protocol/schema.ts";
import { Type } from "typebox";
import type { BlobStore } from "../registry/blobs.io.ts";
import type { Registry } from "../registry/registry.io.ts";
import { type RegistryStore, VERSION_PHASES, type VersionRecord } from "../store/registry.ts";
import { callerName } from "./caller.ts";
import { cursors, page, pageOf, pageQuery } from "./page.ts";
import { defineRoute, type Route } from "./route.ts";

export interface ModelRoutesDeps {
  readonly store: { readonly registry: RegistryStore };
  readonly registry: Registry;
  readonly blobs: BlobStore;
}

const closed = { additionalProperties: false } as const;
export const VersionNumber = integer({ minimum: 1, maximum: 1_000_000_000 });
const Reference = Type.String({ pattern: "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", description: "A number or an alias." });
const Time = integer({ description: "Milliseconds since 1970 UTC." });

const ModelView = Type.Object(
  {
    model: Name,
    versions: integer(),
    newest: VersionNumber,
    released: Type.Union([VersionNumber, Type.Null()], { description: "The newest released version." }),
    aliases: mapOf(Name, VersionNumber),
  },
  closed,
);

const ReportView = Type.Object(
  {
    opset: integer(),
    nodes: integer(),
    cases: integer({ description: "Golden cases." }),
    runs: integer(),
    maxDifference: Type.Number({ description: "Largest difference from the golden outputs." }),
    loadMs: Type.Number(),
    p50LatencyUs: Type.Number({ description: "Of one vector, on the server's processor." }),
    p99LatencyUs: Type.Number(),
    peakBytes: integer({ description: "Most memory of the process that tried it." }),
    wallMs: integer(),
    scoreStd: Type.Union([Type.Number(), Type.Null()]),
  },
  closed,
);

const summary = {
  model: Name,
  version: VersionNumber,
  phase: oneOf(VERSION_PHASES),
  manifestDigest: Digest,
  manifestLength: integer(),
  problem: Type.Union([
    Type.Object({ code: Type.String(), message: Type.String(), detail: mapOf(Type.String(), Type.Unknown()) }, closed),
    Type.Null(),
  ]),
  report: Type.Union([ReportView, Type.Null()]),
  releaseCounter: Type.Union([integer(), Type.Null()]),
  createdAtMs: Time,
  createdBy: Type.String(),
  updatedAtMs: Time,
};
const VersionSummary = Type.Object(summary, closed);
export const VersionView = Type.Object({ ...summary, manifest: Manifest }, closed);

/** A manifest whose version the server may choose. */
const { version: _, ...drafted } = Manifest.properties;
const UploadBody = Type.Object(
  { manifest: Type.Object({ ...drafted, version: Type.Optional(VersionNumber) }, closed) },
  closed,
);

const byModel = cursors(Type.Object({ model: Name }, closed));
const byVersion = cursors(Type.Object({ version: VersionNumber }, closed));
const MANIFEST_BODY_BYTES_MAX = 4 * 1024 * 1024;
const unknownModel = (model: string) => err("NOT_FOUND", { what: "model", name: model });
const unknownVersion = (model: string, version: string | number) =>
  err("NOT_FOUND", { what: "model version", name: `${model} ${version}` });

/** Everything what the sandbox may refuse a package with. */
const REFUSALS = [
  ...(["MANIFEST_WRONG", "BINDING_WRONG", "BLOB_MISSING", "BLOB_DIGEST_MISMATCH", "BLOB_NOT_STORED"] as const),
  ...(["MODEL_NOT_LOADABLE", "GOLDEN_WRONG", "GOLDEN_RUN_FAILED", "GOLDEN_MISMATCH", "REFERENCE_WRONG"] as const),
  ...(["OUTPUT_NOT_FINITE", "OUTPUT_OUT_OF_RANGE", "OUTPUT_SHAPE_WRONG", "INVALID_JSON", "INVALID_SHAPE"] as const),
  ...(["CHILD_MEMORY_EXCEEDED", "CHILD_TIME_EXCEEDED", "CHILD_DIED", "TOO_LARGE", "VALIDATION_BUSY"] as const),
  ...(["ONNX_LFS_POINTER", "ONNX_RUNTIME_FORMAT", "ONNX_CORRUPT", "ONNX_TOO_LARGE", "ONNX_TOO_MANY_NODES"] as const),
  ...(["ONNX_TOO_MANY_PARTS"] as const),
  ...(["ONNX_TOO_DEEP", "ONNX_PART_REFUSED", "ONNX_OPSET_MISSING", "ONNX_OPSET_TOO_NEW"] as const),
  ...(["ONNX_DOMAIN_UNKNOWN", "ONNX_OPERATOR_REFUSED", "ONNX_LOOP_REFUSED", "ONNX_MEMORY_ADDRESS"] as const),
  ...(["ONNX_EXTERNAL_DATA", "ONNX_TENSOR_TOO_LARGE", "ONNX_TENSOR_WRONG", "ONNX_INPUT_UNSUPPORTED"] as const),
  ...(["ONNX_INPUT_TOO_LARGE", "ONNX_OUTPUT_UNSUPPORTED", "FEATURE_FUNCTION_UNKNOWN"] as const),
  ...(["FEATURE_CHANNEL_UNKNOWN", "FEATURE_CHANNEL_MISSING", "FEATURE_PARAMETER_WRONG"] as const),
  ...(["FEATURE_NAME_TWICE", "FEATURE_BASELINE_MISSING", "WINDOW_WRONG"] as const),
] as const;

/** Blobs, models, versions, aliases. */
export function modelRoutes(deps: ModelRoutesDeps): Route[] {
  return [...blobRoutes(deps), ...readRoutes(deps), ...changeRoutes(deps)];
}

function blobRoutes({ blobs }: ModelRoutesDeps): Route[] {
  return [
    defineRoute({
      method: "PUT",
      path: "/v1/blobs/:digest",
      operation: "putBlob",
      summary: "Stores a file of a model package under its digest, which is verified as the bytes arrive.",
      role: ["operator", "releaser"],
      params: { digest: Digest },
      body: { contentTypes: ["application/octet-stream"] },
      bodyBytesMax: BLOB_BYTES_MAX,
      answer: Type.Object({ digest: Digest, length: integer() }, closed),
      errors: ["BLOB_DIGEST_MISMATCH", "BLOB_NOT_STORED"],
      handler: async ({ params: { digest }, body }) => {
        const stored = await blobs.put(digest, body.bytes);
        return stored.ok ? ok({ digest, length: stored.value.length }) : stored;
      },
    }),
    defineRoute({
      method: "GET",
      path: "/v1/blobs/:digest",
      operation: "getBlob",
      summary: "A file of a model package (also manifests) by its digest, whole or a range of it.",
      role: ["device", "viewer"],
      params: { digest: Digest },
      answer: "artifact",
      errors: ["NOT_FOUND"],
      handler: async ({ params: { digest } }) => {
        const length = await blobs.length(digest);
        if (length === undefined) return err("NOT_FOUND", { what: "blob", name: digest });
        const open = (from: number, to: number) => blobs.open(digest, from, to);
        return ok({ contentType: "application/octet-stream", etag: digest, length, open });
      },
    }),
  ];
}

function readRoutes({ store: { registry: store } }: ModelRoutesDeps): Route[] {
  return [
    defineRoute({
      method: "GET",
      path: "/v1/models",
      operation: "listModels",
      summary: "All models, by name.",
      role: "viewer",
      query: pageQuery,
      answer: pageOf(ModelView),
      errors: ["INVALID_CURSOR"],
      handler: async ({ query: { limit = 100, cursor } }) => {
        const after = byModel.decode(cursor);
        if (!after.ok) return after;
        const from = after.value === undefined ? {} : { after: after.value.model };
        const rows = await store.models({ ...from, limit: limit + 1 });
        return ok(page(rows, limit, byModel, ({ model }) => ({ model })));
      },
    }),
    defineRoute({
      method: "GET",
      path: "/v1/models/:model",
      operation: "showModel",
      summary: "One model with its aliases.",
      role: "viewer",
      params: { model: Name },
      answer: ModelView,
      errors: ["NOT_FOUND"],
      handler: async ({ params: { model } }) => {
        const found = await store.model({ model });
        return found ? ok(found) : unknownModel(model);
      },
    }),
    defineRoute({
      method: "GET",
      path: "/v1/models/:model/versions",
      operation: "listModelVersions",
      summary: "Versions of a model, newest first.",
      role: "viewer",
      params: { model: Name },
      query: pageQuery,
      answer: pageOf(VersionSummary),
      errors: ["INVALID_CURSOR"],
      handler: async ({ params: { model }, query: { limit = 100, cursor } }) => {
        const before = byVersion.decode(cursor);
        if (!before.ok) return before;
        const from = before.value === undefined ? {} : { before: before.value.version };
        const rows = (await store.versions({ model, ...from, limit: limit + 1 })).map(summaryOf);
        return ok(page(rows, limit, byVersion, ({ version }) => ({ version })));
      },
    }),
    defineRoute({
      method: "GET",
      path: "/v1/models/:model/versions/:version",
      operation: "showModelVersion",
      summary: "One version, by number or alias: its manifest, where it stands, what validation measured.",
      role: "viewer",
      params: { model: Name, version: Reference },
      answer: VersionView,
      errors: ["NOT_FOUND"],
      handler: async ({ params: { model, version } }) => {
        const found = await store.find({ model, reference: version });
        return found ? ok(found) : unknownVersion(model, version);
      },
    }),
  ];
}

function changeRoutes({ store, registry }: ModelRoutesDeps): Route[] {
  const params = { model: Name, version: VersionNumber };
  return [
    defineRoute({
      method: "POST",
      path: "/v1/models/:model/versions",
      operation: "uploadModelVersion",
      summary: "Adds a version whose files are stored already, and validates it in a sandbox before answering.",
      role: ["operator", "releaser"],
      params: { model: Name },
      body: UploadBody,
      bodyBytesMax: MANIFEST_BODY_BYTES_MAX,
      answer: VersionView,
      status: 201,
      errors: ["CONFLICT", "VERSION_EXISTS", ...REFUSALS],
      handler: async ({ params: { model }, body: { manifest }, caller }) => {
        if (manifest.model !== model) {
          return err("MANIFEST_WRONG", { path: "model", reason: `it says ${manifest.model}, the path ${model}` });
        }
        return registry.upload({ manifest, by: callerName(caller) });
      },
    }),
    defineRoute({
      method: "POST",
      path: "/v1/models/:model/versions/:version/withdraw",
      operation: "withdrawModelVersion",
      summary:
        "Takes a version back for good: no rollout may name it; the next release request has the owners sign that.",
      role: "releaser",
      wholeFleet: true,
      params,
      answer: VersionView,
      errors: ["NOT_FOUND", "CONFLICT"],
      handler: async ({ params }) => registry.withdraw(params),
    }),
    defineRoute({
      method: "PUT",
      path: "/v1/models/:model/aliases/:alias",
      operation: "setModelAlias",
      summary: "Points an alias at a valid or released version.",
      role: "releaser",
      wholeFleet: true,
      params: { model: Name, alias: Name },
      body: Type.Object({ version: VersionNumber }, closed),
      answer: ModelView,
      errors: ["NOT_FOUND", "CONFLICT", "ALIAS_IS_NUMBER"],
      handler: async ({ params: { model, alias }, body: { version } }) => registry.setAlias({ model, alias, version }),
    }),
    defineRoute({
      method: "DELETE",
      path: "/v1/models/:model/aliases/:alias",
      operation: "deleteModelAlias",
      summary: "Removes an alias; the version it pointed at stays.",
      role: "releaser",
      wholeFleet: true,
      params: { model: Name, alias: Name },
      answer: "none",
      errors: ["NOT_FOUND"],
      handler: async ({ params }) => {
        const existed = await store.registry.deleteAlias(params);
        return existed ? ok(undefined) : err("NOT_FOUND", { what: "alias", name: params.alias });
      },
    }),
  ];
}

function summaryOf({ manifest, ...rest }: VersionRecord): Omit<VersionRecord, "manifest"> {
  // Lists leave the manifest out: one of 10,000 features is a megabyte.
  void manifest;
  return rest;
}
