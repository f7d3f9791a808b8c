import { resolve } from "node:path";
import type { Result } from "@bellwether/protocol/result.ts";
import { validator } from "@bellwether/protocol/schema.ts";
import { type Command, InvalidArgumentError } from "commander";
import { Type } from "typebox";
import { writeDurably } from "../files.io.ts";
import { firstMetadata, type OnlinePublicKeys } from "../registry/ceremony.ts";
import { LIFETIMES_MS, ROLES, type TufRole } from "../registry/metadata.ts";
import { readRoot } from "../registry/read-metadata.ts";
import { nextRoot, type RootChange, signRoot } from "../registry/root-changes.ts";
import type { SignedFile } from "../registry/signed-file.ts";
import { type CliContext, parseJson, readText, span, wholeNumber } from "./context.io.ts";
import type { EmptyRepository } from "./development.io.ts";
import { failure, must } from "./failure.ts";
import { OFFLINE_ROLES, type OfflineRole } from "./key-file.ts";
import { keepRoot, makeKey, readKeyFolder } from "./key-folder.io.ts";
import { addKeyStatus } from "./keys-status.ts";
import {
  type KeysOptions,
  keysFolder,
  passphraseOf,
  readOfflineFile,
  signWithFolder,
  withKeysOptions,
  writeSigned,
} from "./offline.io.ts";

const Keys = Type.Array(Type.String({ pattern: "^[0-9a-f]{64}$" }), { minItems: 1, maxItems: 1 });
const onlineFile = validator(
  "The file of online keys",
  Type.Object({ v: Type.Literal(1), snapshot: Keys, timestamp: Keys, director: Keys }, { additionalProperties: false }),
);
const ONLINE = ["snapshot", "timestamp", "director"] as const;

/** `bellwether keys …`: who may sign for the fleet. The server's own keys are reached on its machine only. */
export function addKeysCommands(repositoryOf: (dataDir: string) => EmptyRepository) {
  return (program: Command, context: CliContext): void => {
    const keys = program.command("keys").description("release keys: who may sign what, and until when");
    addServerSide(keys, context, repositoryOf);
    addInit(keys, context);
    addRootChanges(keys, context);
    addKeyStatus(keys, context);
  };
}

function addServerSide(keys: Command, context: CliContext, repositoryOf: (dir: string) => EmptyRepository): void {
  keys
    .command("online")
    .description("on the server's machine: write down the public halves of its keys, for the offline keys to name")
    .requiredOption("--dir <folder>", "the server's data directory")
    .requiredOption("--out <file>", "where to write them")
    .option("--new <role>", `make a new key of ${ONLINE.join(", ")} first`, oneOfRoles(ONLINE))
    .action(async (options: { dir: string; out: string; new?: (typeof ONLINE)[number] }) => {
      const repository = repositoryOf(resolve(options.dir));
      // Makes those of a first start.
      await repository.online();
      if (options.new !== undefined) await repository.addOnlineKey(options.new);
      const online = await repository.online();
      const newest = ONLINE.map((role) => [role, [hexOf(online[role].at(-1)!)]] as const);
      await writeDurably(
        options.out,
        `${JSON.stringify({ v: 1, ...Object.fromEntries(newest) }, undefined, 1)}\n`,
        0o644,
      );
    });
  keys
    .command("install <file>")
    .description('on the server\'s machine, before its first start: lay down what "keys init" signed')
    .requiredOption("--dir <folder>", "the server's data directory")
    .action(async (file: string, { dir }: { dir: string }) => {
      const repository = repositoryOf(resolve(dir));
      const { root, targets } = await readOfflineFile(file);
      if (root === undefined || targets === undefined)
        throw failure("FILE_UNREADABLE", { file, reason: "it holds no first root and targets" });
      if (await repository.hasRoot()) throw failure("REPOSITORY_THERE", { dir });
      must(await repository.layFirst({ root, targets }));
      context.say("The server can be started.");
    });
}

interface InitOptions extends KeysOptions {
  readonly online: string;
  readonly out: string;
  readonly rootKeys: number;
  readonly rootThreshold: number;
  readonly targetsKeys: number;
  readonly targetsThreshold: number;
  readonly rootLasts?: number;
  readonly targetsLasts?: number;
  readonly passphrase: boolean;
}

function addInit(keys: Command, context: CliContext): void {
  const count = wholeNumber(1, 16);
  withKeysOptions(
    keys
      .command("init")
      .description(
        "make the offline keys of a new fleet and have them sign its first root and targets; needs no server",
      )
      .requiredOption("--online <file>", 'the server\'s public keys, from "keys online"')
      .requiredOption("--out <file>", 'where to write what "keys install" takes to the server')
      .option("--root-keys <n>", "keys of root", count, 3)
      .option("--root-threshold <n>", "how many of them must sign", count, 2)
      .option("--targets-keys <n>", "keys of targets", count, 1)
      .option("--targets-threshold <n>", "how many of them must sign", count, 1)
      .option("--root-lasts <span>", "how long the root holds, such as 365d", span)
      .option("--targets-lasts <span>", "how long the targets hold, such as 180d", span)
      .option("--no-passphrase", "keep the keys in the clear"),
  ).action(async (options: InitOptions) => {
    const dir = keysFolder(context, options);
    if (must(await readKeyFolder(dir)).keys.length > 0) throw failure("KEYS_THERE", { dir });
    for (const role of OFFLINE_ROLES) {
      const [own, threshold] = [options[`${role}Keys`], options[`${role}Threshold`]];
      if (own < threshold) throw failure("KEYS_TOO_FEW", { role, keys: own, threshold });
    }
    const online = await readOnline(options.online);
    const passphrase = await newPassphrase(context, options);
    const make = async (role: OfflineRole) =>
      Array.fromAsync({ length: options[`${role}Keys`] }, async () => (await makeKey(dir, role, passphrase)).pair);
    const { rootThreshold, targetsThreshold, rootLasts, targetsLasts } = options;
    const lives = {
      ...(rootLasts === undefined ? {} : { rootLifeMs: rootLasts }),
      ...(targetsLasts === undefined ? {} : { targetsLifeMs: targetsLasts }),
    };
    const made = { root: await make("root"), targets: await make("targets"), online, development: false };
    const first = firstMetadata({ ...made, rootThreshold, targetsThreshold, ...lives }, context.world.nowMs());
    await keepRoot(dir, first.root);
    await writeSigned(context, options.out, { file: { v: 1, ...first }, sentences: [], missing: 0 });
  });
}

interface ChangeOptions extends KeysOptions {
  readonly out: string;
  readonly online?: string;
  readonly request?: string;
  readonly threshold?: number;
  readonly lasts?: number;
  readonly passphrase: boolean;
}

function addRootChanges(keys: Command, context: CliContext): void {
  const command = (name: string, description: string) =>
    withKeysOptions(
      keys
        .command(name)
        .description(description)
        .requiredOption("--out <file>", "where to write the new root")
        .option("--online <file>", 'for snapshot and timestamp: the server\'s public keys, from "keys online"')
        .option(
          "--request <file>",
          'a release request: its targets are signed again under the new root (for "targets")',
        )
        .option("--threshold <n>", "how many keys of the role must sign from now on", wholeNumber(1, 16))
        .option("--lasts <span>", "how long the root holds, such as 365d", span)
        .option("--no-passphrase", "keep a new key in the clear"),
    );
  command("add <role>", "let one more key sign for root, targets, snapshot or timestamp").action(
    async (role: string, options: ChangeOptions) => {
      const named = roleOf(role);
      await changeRoot(context, named, options, async () => [await added(context, named, options)]);
    },
  );
  command("rotate <role> [key]", "put a new key in the place of one, named by the beginning of its public half").action(
    async (role: string, key: string | undefined, options: ChangeOptions) => {
      const named = roleOf(role);
      await changeRoot(context, named, options, async (publicKeys) => {
        const old = keyNamed(publicKeys, named, key);
        return [await added(context, named, options), { change: "revoke", role: named, publicKey: old }];
      });
    },
  );
  command("revoke <role> <key>", "no longer let a key sign").action(
    async (role: string, key: string, options: ChangeOptions) => {
      const named = roleOf(role);
      await changeRoot(context, named, options, async (publicKeys) => [
        { change: "revoke", role: named, publicKey: keyNamed(publicKeys, named, key) },
      ]);
    },
  );
  keys
    .command("adopt <file>")
    .description("go on from a root that other holders completed")
    .option("--keys <folder>", "folder of the offline keys (or BELLWETHER_KEYS)")
    .action(async (file: string, options: KeysOptions) => {
      const dir = keysFolder(context, options);
      const folder = must(await readKeyFolder(dir));
      const { root } = await readOfflineFile(file);
      if (folder.root === undefined || root === undefined) throw failure("KEYS_MISSING", { dir });
      const { missing, text } = must(signRoot(must(readRoot(folder.root)), root, []));
      if (missing > 0) throw failure("SIGNATURES_MISSING", { missing });
      await keepRoot(dir, text);
    });
  command("renew", "sign the root as it is, for a new span").action((options: ChangeOptions) =>
    changeRoot(context, "root", options, async () => []),
  );
}

/** Proposes a root with changes to one role, and signs it with the keys of the folder. */
async function changeRoot(
  context: CliContext,
  role: TufRole,
  options: ChangeOptions,
  changesOf: (publicKeys: readonly Uint8Array[]) => Promise<readonly RootChange[]>,
): Promise<void> {
  const dir = keysFolder(context, options);
  const folder = must(await readKeyFolder(dir));
  if (folder.root === undefined) throw failure("KEYS_MISSING", { dir });
  const before = must(readRoot(folder.root));
  const request = options.request === undefined ? undefined : (await readOfflineFile(options.request)).request;
  const changes = [...(await changesOf(before.content.roles[role].publicKeys))];
  if (options.threshold !== undefined) changes.push({ change: "threshold", role, threshold: options.threshold });
  const expiresAtMs = context.world.nowMs() + (options.lasts ?? LIFETIMES_MS.root);
  const next = must(nextRoot(before.content, changes, expiresAtMs));
  const { text } = must(signRoot(before, next, []));
  const file: SignedFile = { v: 1, root: text, ...(request === undefined ? {} : { request }) };
  const { lasts: _, ...signing } = options;
  await writeSigned(context, options.out, await signWithFolder(context, file, signing));
}

/** A new key: made in the folder, or the newest that a server made. */
async function added(context: CliContext, role: TufRole, options: ChangeOptions): Promise<RootChange> {
  if (role === "root" || role === "targets") {
    const passphrase = await newPassphrase(context, options);
    const { pair } = await makeKey(keysFolder(context, options), role, passphrase);
    return { change: "add", role, publicKey: pair.publicKey };
  }
  if (options.online === undefined)
    throw failure("ARGUMENT_INVALID", { name: "--online", expected: `must name the server's file of public keys` });
  return { change: "add", role, publicKey: (await readOnline(options.online))[role][0]! };
}

function keyNamed(publicKeys: readonly Uint8Array[], role: TufRole, beginning: string | undefined): Uint8Array {
  const found = publicKeys.filter((key) => beginning === undefined || hexOf(key).startsWith(beginning));
  if (found.length === 1) return found[0]!;
  if (found.length === 0) throw failure("KEY_NOT_NAMED", { role });
  const expected = `must begin the public half of one key of ${role}: ${publicKeys.map(hexOf).join(", ")}`;
  throw failure("ARGUMENT_INVALID", { name: "key", expected });
}

async function newPassphrase(
  context: CliContext,
  options: KeysOptions & { readonly passphrase: boolean },
): Promise<string | undefined> {
  if (!options.passphrase) return undefined;
  const passphrase = await passphraseOf(context, options)();
  if (passphrase === undefined) throw failure("PASSPHRASE_MISSING");
  return passphrase;
}

async function readOnline(file: string): Promise<OnlinePublicKeys> {
  const read: Result<Record<(typeof ONLINE)[number], string[]>> = onlineFile.check(
    parseJson(await readText(file), file),
  );
  const named = must(read);
  const bytes = (role: (typeof ONLINE)[number]) => named[role].map((hex) => Buffer.from(hex, "hex"));
  return { snapshot: bytes("snapshot"), timestamp: bytes("timestamp"), director: bytes("director") };
}

function roleOf(text: string): TufRole {
  const role = ROLES.find((one) => one === text);
  if (role === undefined)
    throw failure("ARGUMENT_INVALID", { name: text, expected: `must be one of ${ROLES.join(", ")}` });
  return role;
}

function oneOfRoles<Role extends string>(roles: readonly Role[]) {
  return (text: string): Role => {
    const role = roles.find((one) => one === text);
    if (role === undefined) throw new InvalidArgumentError(`It must be one of ${roles.join(", ")}.`);
    return role;
  };
}

function hexOf(key: Uint8Array): string {
  return Buffer.from(key).toString("hex");
}
