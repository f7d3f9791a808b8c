import { join } from "node:path";
import { Readable } from "node:stream";
import { digestOf } from "@bellwether/protocol/package/check.ts";
import { roleSpawner } from "@bellwether/protocol/process/roles.io.ts";
import { err, ok, type Result, unwrap } from "@bellwether/protocol/result.ts";
import { describe, expect, onTestFinished, test } from "vitest";
import { eventually } from "../../../test/kit/eventually.ts";
import { temporaryFolder } from "../../../test/kit/folder.ts";
import { ownedRepository, ownerOf, registryOwner } from "../../../test/kit/owner.ts";
import { hungryModel, referencesOf, slowModel, testPackage, timesModel } from "../../../test/kit/packages.ts";
import { memoryRoom } from "../../../test/kit/room.ts";
import type { RegistryStore, ValidationReport } from "../store/registry.ts";
import { registry as commands, registryMigrations } from "../store/sqlite/registry.ts";
import { type BlobStore, openBlobs } from "./blobs.io.ts";
import { createRegistry, type RegistryPorts } from "./registry.io.ts";
import { createSandbox, SANDBOX_LIMITS, type Sandbox, type SandboxRole } from "./sandbox.io.ts";

const spawner = roleSpawner<SandboxRole>(new URL("../main.ts", import.meta.url));
const report: ValidationReport = {
  ...{ opset: 17, nodes: 1, cases: 3, runs: 4, maxDifference: 0, loadMs: 1, p50LatencyUs: 1, p99LatencyUs: 1 },
  ...{ peakBytes: 1, wallMs: 1, scoreStd: 10 },
};
/** A sandbox that believes everything. */
type Validating = Pick<Sandbox, "validate">;
const trusting: Validating = { validate: async () => ok(report) };

async function room(sandbox: Validating = trusting, changes: Partial<RegistryPorts> = {}, patience = {}) {
  const blobs = await openBlobs(temporaryFolder("blobs-"));
  const store = { registry: memoryRoom<RegistryStore>(commands, registryMigrations) };
  const dir = join(temporaryFolder("repository-"), "repository");
  const repository = await ownedRepository(dir);
  onTestFinished(() => repository.close());
  const problems: unknown[] = [];
  let clock = 1_000;
  const ports: RegistryPorts = {
    ...{ store, blobs, sandbox, repository, now: () => clock++ },
    report: (_, detail) => problems.push(detail),
    ...changes,
  };
  const registry = createRegistry(ports, patience);
  onTestFinished(() => registry.stop());
  /** The owner of the keys signs and publishes; what was released then, as the store has it. */
  const own = registryOwner(registry, dir);
  const release = async (name: { model: string; version: number }) => {
    const done = await own({ change: "release", ...name });
    return done.ok ? ok(await store.registry.find({ model: name.model, reference: String(name.version) })) : done;
  };
  return { registry, ports, blobs, store: store.registry, repository, problems, own, release, dir };
}
const add = (registry: Awaited<ReturnType<typeof room>>["registry"], one = testPackage()) =>
  registry.add({ ...one, by: "tester" });
/** A manifest whose files are there; the registry chooses its version. */
async function draftIn(blobs: BlobStore) {
  const { manifest, files } = testPackage();
  for (const bytes of Object.values(files)) unwrap(await blobs.put(digestOf(bytes), Readable.from([bytes])));
  return { ...manifest, files: referencesOf(files) };
}
/** A sandbox that says nothing until it is told to. */
function held() {
  const { promise, resolve } = Promise.withResolvers<Result<ValidationReport>>();
  return { validate: () => promise, finish: () => resolve(ok(report)) };
}
const codeOf = (result: Result<unknown>) => (result.ok ? "ok" : result.error.code);

/** However busy the machine of the tests is: what a model takes of a processor is the same. */
const PATIENT = { ...SANDBOX_LIMITS, wallMs: 120_000 };

describe("the sandbox", () => {
  test("proves a good package by its golden vectors, alone and in a batch", async () => {
    const { registry } = await room(createSandbox(spawner, PATIENT));
    const version = unwrap(await add(registry));
    expect(version).toMatchObject({ model: "pump-rul", version: 1, phase: "valid", createdBy: "tester" });
    expect(version.report).toMatchObject({ opset: 17, nodes: 1, cases: 3, runs: 4, scoreStd: 10 });
    expect(version.report!.maxDifference).toBeLessThan(1e-5);
    expect(version.report!.peakBytes).toBeGreaterThan(10 * 2 ** 20);
  });

  test.each([
    ["golden outputs it does not give", testPackage(timesModel(9)), "GOLDEN_MISMATCH"],
    ["a file that is no model", testPackage(Buffer.from("not a model")), "ONNX_CORRUPT"],
    [
      "an input nobody bound",
      testPackage(timesModel(10), undefined, {
        compatibility: { opset: 13, executionProviders: ["cpu"], architectures: ["x64"] },
      }),
      "BINDING_WRONG",
    ],
    ["2 GB when it runs", testPackage(hungryModel(500_000_000)), "CHILD_MEMORY_EXCEEDED"],
  ])("refuses a model with %s", async (_, one, code) => {
    const { registry, store } = await room(createSandbox(spawner, PATIENT));
    expect(codeOf(await add(registry, one))).toBe(code);
    expect(await store.find({ model: "pump-rul", reference: "1" })).toMatchObject({
      phase: "invalid",
      problem: { code },
    });
  });

  test("holds a child that never comes back, and one that eats memory slowly", async () => {
    const limits = { memoryBytes: 400 * 2 ** 20, cpuMs: 3_000, wallMs: PATIENT.wallMs };
    const { registry } = await room(createSandbox(spawner, limits));
    expect(codeOf(await add(registry, testPackage(slowModel(2_000, 5_000))))).toBe("CHILD_TIME_EXCEEDED");
    expect(codeOf(await add(registry, testPackage(hungryModel(95_000_000))))).toBe("CHILD_MEMORY_EXCEEDED");
  });
});

test("a machine too busy to try a model says nothing against it: uploads hear when to come back, a training's own is tried again", async () => {
  let busy = 2;
  const starved = err("CHILD_STARVED", { wallMs: 20_000, cpuMs: 300 });
  const { registry } = await room({ validate: async () => (busy-- > 0 ? starved : ok(report)) });
  const { version, ...manifest } = unwrap(await add(registry)).manifest;
  expect([version, busy]).toEqual([1, -1]);
  busy = 1;
  expect(await registry.upload({ manifest, by: "tester" })).toMatchObject({
    error: { code: "VALIDATION_BUSY", detail: { retryAfterSeconds: 10 } },
  });
});

test("an upload whose validation takes longer than anybody waits goes on, and whoever sends the same again has its outcome", async () => {
  const { validate, finish } = held();
  const { registry, store, blobs } = await room({ validate }, {}, { answerMs: 5 });
  const manifest = await draftIn(blobs);
  const busy = { error: { code: "VALIDATION_BUSY", detail: { retryAfterSeconds: 10 } } };
  const send = () => registry.upload({ manifest, by: "tester" });
  expect(await send()).toMatchObject(busy);
  expect(await send()).toMatchObject(busy);
  finish();
  const heard = async () => {
    const answer = await send();
    return answer.ok ? answer.value : undefined;
  };
  expect(await eventually("its outcome", heard)).toMatchObject({ version: 1, phase: "valid" });
  expect(await store.model({ model: "pump-rul" })).toMatchObject({ versions: 1 });
  // Once heard it is over: the same again is another upload.
  expect(await eventually("another outcome", heard)).toMatchObject({ version: 2 });
});

describe("versions", () => {
  test("are numbered one after another; a number is given again only after a refusal", async () => {
    const answers: Result<ValidationReport>[] = [
      ok(report),
      { ok: false, error: { code: "CHILD_DIED", message: "", detail: {} } },
    ];
    const { registry, store } = await room({ validate: async () => answers.shift() ?? ok(report) });
    expect(codeOf(await add(registry))).toBe("ok");
    expect(codeOf(await add(registry))).toBe("CHILD_DIED");
    expect(unwrap(await add(registry)).version).toBe(2);
    const one = testPackage();
    const manifest = unwrap(await add(registry)).manifest;
    expect(codeOf(await registry.upload({ manifest, by: "tester" }))).toBe("VERSION_EXISTS");
    expect(one.manifest.model).toBe(manifest.model);
    expect(
      (await store.versions({ model: "pump-rul", limit: 10 })).map(({ version, phase }) => [version, phase]),
    ).toEqual([
      [3, "valid"],
      [2, "valid"],
      [1, "valid"],
    ]);
    expect(await store.model({ model: "pump-rul" })).toMatchObject({ versions: 3, newest: 3, released: null });
  });

  test("two uploads at once get two numbers", async () => {
    const { registry } = await room();
    const both = await Promise.all([add(registry), add(registry)]);
    expect(both.map((one) => unwrap(one).version).sort()).toEqual([1, 2]);
  });

  test("a manifest that contradicts itself, or whose files are not there, keeps nothing", async () => {
    const { registry, store } = await room();
    const one = testPackage(undefined, undefined, { outputs: [{ name: "value", output: "out", meaning: "value" }] });
    expect(codeOf(await add(registry, one))).toBe("MANIFEST_WRONG");
    const files = { digest: `sha256:${"0".repeat(64)}`, length: 3 };
    const manifest = { ...testPackage().manifest, files: { model: files, golden: files, reference: files } };
    expect(codeOf(await registry.upload({ manifest, by: "tester" }))).toBe("BLOB_MISSING");
    expect(await store.models({ limit: 10 })).toEqual([]);
  });

  test("an upload over the number that may wait is told to come back, and keeps nothing", async () => {
    const { validate, finish } = held();
    const { registry, blobs, store } = await room({ validate });
    const draft = await draftIn(blobs);
    const all = Array.from({ length: 9 }, () => registry.upload({ manifest: draft, by: "tester" }));
    expect(await Promise.race(all)).toMatchObject({
      error: { code: "VALIDATION_BUSY", detail: { retryAfterSeconds: 10 } },
    });
    // What the server itself made waits its turn.
    const own = add(registry);
    finish();
    expect((await Promise.all(all)).filter(({ ok }) => ok)).toHaveLength(8);
    expect(unwrap(await own).version).toBe(9);
    expect(await store.model({ model: "pump-rul" })).toMatchObject({ versions: 9 });
  });
});

describe("release", () => {
  test("signs a valid version, and withdrawing ends it for good", async () => {
    const { registry, repository, store, release, own } = await room();
    const { manifestDigest, manifestLength } = unwrap(await add(registry));
    const name = { model: "pump-rul", version: 1 };
    expect(unwrap(await release(name))).toMatchObject({ phase: "released", releaseCounter: 1 });
    expect(repository.releases()).toEqual([{ ...name, manifestDigest, manifestLength, releaseCounter: 1 }]);
    expect(unwrap(await release(name))?.phase).toBe("released");
    expect((await store.model({ model: "pump-rul" }))?.released).toBe(1);
    expect(unwrap(await registry.withdraw(name)).phase).toBe("withdrawn");
    expect(repository.releases()).toEqual([]);
    expect(codeOf(await release(name))).toBe("CONFLICT");
    // Here it is withdrawn at once; for the devices, when the owners have signed that.
    expect(repository.blocked()).toMatchObject([name]);
    expect(unwrap(await own()).withdrawn).toMatchObject([name]);
    expect(repository.blocked()).toEqual([]);
    expect(codeOf(await registry.withdraw(name))).toBe("CONFLICT");
    expect(codeOf(await release({ ...name, version: 9 }))).toBe("NOT_FOUND");
  });

  test("what the sandbox refused cannot be released", async () => {
    const refusing: Validating = {
      validate: async () => ({ ok: false, error: { code: "CHILD_DIED", message: "", detail: {} } }),
    };
    const { registry, repository, release } = await room(refusing);
    await add(registry);
    expect(codeOf(await release({ model: "pump-rul", version: 1 }))).toBe("CONFLICT");
    expect(repository.releases()).toEqual([]);
  });

  test("aliases point at versions that devices could run", async () => {
    const { registry, store } = await room();
    await add(registry);
    const alias = (name: string, version = 1) => registry.setAlias({ model: "pump-rul", alias: name, version });
    expect(unwrap(await alias("champion")).aliases).toEqual({ champion: 1 });
    expect(await store.find({ model: "pump-rul", reference: "champion" })).toMatchObject({ version: 1 });
    expect(codeOf(await alias("7"))).toBe("ALIAS_IS_NUMBER");
    expect(codeOf(await alias("next", 2))).toBe("NOT_FOUND");
    await registry.withdraw({ model: "pump-rul", version: 1 });
    expect(codeOf(await alias("champion"))).toBe("CONFLICT");
  });
});

describe("release for a cohort", () => {
  const role = { model: "pump-rul", cohort: "line-3" };
  const wanted = { ...role, version: 1, by: "retraining" };

  test("stands with the role alone, which must be there and on", async () => {
    const { registry, repository, own } = await room();
    await add(registry);
    expect(codeOf(await registry.releaseForCohort(wanted))).toBe("RETRAINING_ROLE_UNKNOWN");
    unwrap(await own({ change: "grant", ...role, selector: "line=3" }));
    unwrap(await own({ change: "off", ...role }));
    expect(codeOf(await registry.releaseForCohort(wanted))).toBe("RETRAINING_ROLE_OFF");
    unwrap(await own({ change: "on", ...role }));
    expect(unwrap(await registry.releaseForCohort(wanted))).toMatchObject({ phase: "released", releaseCounter: 1 });
    expect(repository.releases()).toMatchObject([{ cohort: "line-3", by: "retraining" }]);
    expect(unwrap(registry.reach(wanted))).toMatchObject({ cohort: "line-3", selector: "line=3" });
    expect(codeOf(await registry.releaseForCohort({ ...wanted, cohort: "line-4" }))).toBe("CONFLICT");
    expect(codeOf(await registry.releaseForCohort({ ...wanted, version: 2 }))).toBe("NOT_FOUND");
  });

  test("becomes everybody's by a release of the owners", async () => {
    const { registry, repository, own, release } = await room();
    await add(registry);
    unwrap(await own({ change: "grant", ...role, selector: "line=3" }));
    unwrap(await registry.releaseForCohort(wanted));
    expect(unwrap(await release(wanted))).toMatchObject({ phase: "released", releaseCounter: 2 });
    expect(repository.releases()).toMatchObject([{ releaseCounter: 2 }]);
    expect(unwrap(registry.reach(wanted))).toBeUndefined();
  });

  test("is over for good when it is withdrawn, even while its role is off", async () => {
    const { registry, repository, own } = await room();
    await add(registry);
    unwrap(await own({ change: "grant", ...role, selector: "line=3" }));
    unwrap(await registry.releaseForCohort(wanted));
    unwrap(await own({ change: "off", ...role }));
    expect(codeOf(registry.reach(wanted) as Result<unknown>)).toBe("RETRAINING_ROLE_OFF");
    expect(unwrap(await registry.withdraw(wanted)).phase).toBe("withdrawn");
    unwrap(await own({ change: "on", ...role }));
    expect(repository.releases()).toEqual([]);
  });

  test("ends with its role", async () => {
    const { registry, store, own } = await room();
    await add(registry);
    unwrap(await own({ change: "grant", ...role, selector: "line=3" }));
    unwrap(await registry.releaseForCohort(wanted));
    expect(unwrap(await own({ change: "revoke", ...role })).withdrawn).toMatchObject([wanted]);
    expect(await store.find({ model: "pump-rul", reference: "1" })).toMatchObject({ phase: "withdrawn" });
    expect(codeOf(await own({ change: "revoke", ...role }))).toBe("RETRAINING_ROLE_UNKNOWN");
    expect(codeOf(await registry.releaseForCohort(wanted))).toBe("CONFLICT");
  });
});

describe("after a crash", () => {
  test("a version that was being validated is validated again", async () => {
    const first = await room({
      validate: (_, signal) => new Promise((resolve) => signal!.addEventListener("abort", () => resolve(ok(report)))),
    });
    const under = add(first.registry);
    await expect.poll(() => first.store.inPhase({ phase: "validating" })).toHaveLength(1);
    await first.registry.stop();
    expect(codeOf(await under)).toBe("UNAVAILABLE");
    const second = createRegistry({ ...first.ports, sandbox: trusting });
    await second.start();
    await expect.poll(() => first.store.inPhase({ phase: "valid" })).toHaveLength(1);
    await second.stop();
    expect(first.problems).toEqual([]);
  });

  test("a version that was signed but not noted is released", async () => {
    const { registry, ports, store, repository, dir } = await room();
    const { manifestDigest, manifestLength } = unwrap(await add(registry));
    const named = { model: "pump-rul", version: 1, manifestDigest, manifestLength };
    unwrap(await ownerOf(repository, dir).order({ change: "release", ...named }));
    const second = createRegistry(ports);
    await second.start();
    expect(await store.find({ model: "pump-rul", reference: "1" })).toMatchObject({
      phase: "released",
      releaseCounter: 1,
    });
    await second.stop();
  });
});
