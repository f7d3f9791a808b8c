// The arrows of the house. A room is a folder below a package's src/; shell files say so in their name.
const shell = "\\.(io|worker)\\.ts$|/(main|cli)\\.ts$|/cli/|fleet-server/src/(api|store/sqlite)/|\\.test\\.ts$";
const inRoom = "^(agent|fleet-server)/src/([^/]+)/";

/** A package that may be imported in exactly one folder of each program. */
function onlyIn(name, folders) {
  return {
    name: `${name}-in-one-folder`,
    comment: `${name} is imported in one folder per package only; the others get it from main.ts.`,
    severity: "error",
    from: { path: "^(protocol|agent|fleet-server)/src/", pathNot: [...folders.map((f) => `^${f}/`), "\\.test\\.ts$"] },
    to: { path: `(^|/)node_modules/${name}/` },
  };
}

export default {
  forbidden: [
    {
      name: "agent-and-server-apart",
      severity: "error",
      from: { path: "^agent/" },
      to: { path: "^fleet-server/" },
    },
    {
      name: "server-and-agent-apart",
      severity: "error",
      from: { path: "^fleet-server/" },
      to: { path: "^agent/" },
    },
    {
      name: "protocol-stands-alone",
      severity: "error",
      from: { path: "^protocol/", pathNot: "\\.test\\.ts$" },
      to: { path: "^(agent|fleet-server|demo|test)/" },
    },
    {
      name: "demo-through-public-interfaces",
      severity: "error",
      from: { path: "^demo/" },
      to: { path: "^(agent|fleet-server)/" },
    },
    {
      name: "production-knows-no-test",
      severity: "error",
      from: { path: "^(protocol|agent|fleet-server)/src/", pathNot: "\\.test\\.ts$" },
      to: { path: "^(test|demo)/|\\.test\\.ts$|/fixtures/" },
    },
    {
      name: "core-imports-core",
      comment: "A core file (x.ts) imports no shell file, no clock, no disk, no network.",
      severity: "error",
      from: { path: "^(protocol|agent|fleet-server)/src/", pathNot: shell },
      to: { path: "\\.(io|worker)\\.ts$|/(main|cli)\\.ts$", dependencyTypesNot: ["type-only"] },
    },
    {
      name: "core-touches-no-world",
      severity: "error",
      from: { path: "^(protocol|agent|fleet-server)/src/", pathNot: shell },
      to: {
        dependencyTypes: ["core"],
        path: "^(node:)?(fs|fs/promises|net|http|https|tls|dgram|dns|child_process|worker_threads|os|process|timers|timers/promises|readline|v8|vm)$",
        dependencyTypesNot: ["type-only"],
      },
    },
    {
      name: "no-sibling-core-at-run-time-from-core",
      comment: "Core imports its own room's core and protocol's core; a sibling's core only as a type.",
      severity: "error",
      from: { path: inRoom, pathNot: shell },
      to: {
        path: "^(agent|fleet-server)/src/[^/]+/",
        pathNot: ["^$1/src/$2/", "^fleet-server/src/store/"],
        dependencyTypesNot: ["type-only"],
      },
    },
    {
      name: "no-sibling-shell",
      comment: "Rooms never import a sibling's shell; main.ts hands adapters over.",
      severity: "error",
      from: { path: inRoom, pathNot: "\\.test\\.ts$" },
      to: {
        path: "^(agent|fleet-server)/src/[^/]+/.*\\.(io|worker)\\.ts$",
        pathNot: ["^$1/src/$2/"],
        dependencyTypesNot: ["type-only"],
      },
    },
    {
      name: "no-cycles",
      severity: "error",
      from: {},
      to: { circular: true, viaOnly: { dependencyTypesNot: ["type-only"] } },
    },
    { name: "resolvable", severity: "error", from: {}, to: { couldNotResolve: true } },
    onlyIn("onnxruntime-node", ["agent/src/inference", "fleet-server/src/registry"]),
    {
      name: "sessions-from-verified-models",
      comment: "An agent's session is made in one file, from a VerifiedModel (agent/src/trust).",
      severity: "error",
      from: { path: "^agent/src/", pathNot: "^agent/src/inference/session\\.io\\.ts$" },
      to: { path: "(^|/)node_modules/onnxruntime-node/" },
    },
    onlyIn("better-sqlite3", ["agent/src/buffer", "fleet-server/src/store"]),
    onlyIn("mqtt", ["agent/src/link", "fleet-server/src/cli"]),
    onlyIn("aedes", ["fleet-server/src/broker"]),
    onlyIn("tuf-js", ["agent/src/update"]),
  ],
  options: {
    doNotFollow: { path: "node_modules" },
    parser: "swc",
    tsPreCompilationDeps: true,
    enhancedResolveOptions: {
      exportsFields: ["exports"],
      conditionNames: ["import", "node", "default", "types"],
      extensions: [".ts", ".mjs", ".js", ".json"],
    },
  },
};
