import { readFile } from "node:fs/promises";
import { resolve } from "node:path";
import type { Result } from "@bellwether/protocol/result.ts";
import type { Command } from "commander";
import { parse } from "yaml";
import { makeFolder } from "../files.io.ts";
import { type Settings, settingsFile, settingsOf } from "../settings.ts";
import { type CliContext, collect, wholeNumber } from "./context.io.ts";
import { failure, must } from "./failure.ts";
import { addressOf, type Listen, type ListenOptions } from "./listen.ts";
import { keysBeside } from "./offline.io.ts";

/** A started server as the command needs it. */
export interface UpServer {
  readonly url: string;
  readonly mqttUrl: string;
  readonly tokenFile: string;
  readonly developmentKeys: boolean;
  readonly caFingerprint: string | undefined;
  readonly madeCa: boolean;
  /** Takes certificate files that changed. */
  reload(): Promise<void>;
  close(): Promise<void>;
}

/** Starts a server; main.ts gives the real one. */
export type StartServer = (options: {
  readonly dir: string;
  readonly port: number;
  readonly mqttPort: number;
  readonly listen?: Listen;
  readonly settings: Settings;
  readonly developmentKeys: boolean;
  log(level: "info" | "warn" | "error", message: string, detail?: unknown): void;
}) => Promise<Result<UpServer>>;

/**
 * Makes development keys in a folder of their own, in a process of its own, where the data directory has no release
 * repository yet: the server's process never holds a key that can release.
 */
export type MakeDevelopmentKeys = (dir: string, keysDir: string) => Promise<boolean>;

const LEVELS = ["silent", "error", "warn", "info", "debug"] as const;

/** `bellwether up`: the fleet server in this process, until it is told to stop. */
export function addUpCommand(start: StartServer, makeKeys: MakeDevelopmentKeys) {
  return (program: Command, context: CliContext): void => {
    program
      .command("up")
      .description("run the fleet server: REST API, MQTT broker and store in one process, on loopback or with TLS")
      .requiredOption("--dir <folder>", "where it keeps everything")
      .option("--port <port>", "REST port; 0 takes a free one", wholeNumber(0, 65_535), 8443)
      .option("--mqtt-port <port>", "MQTT port; 0 takes a free one", wholeNumber(0, 65_535), 1883)
      .option("--listen <host:port>", "REST address for other machines, with TLS; the MQTT port is on the same host")
      .option(
        "--name <name>",
        "what other machines call this server; may be repeated, the first is in its URLs",
        collect,
      )
      .option(
        "--tls-cert <file>",
        "a certificate of your own (PEM, with what it is signed by), not the development CA's",
      )
      .option("--tls-key <file>", "its private key (PEM)")
      .option("--client-certificates", "devices must show their certificate at TLS, besides logging in (mTLS)")
      .option("--client-ca <file>", "the same; certificates of these CAs (PEM), a PKI of your own, count too")
      .option("--no-tls", "listen in clear text; on loopback only")
      .option("--config <file>", "settings as YAML")
      .option("--keys <folder>", "where a first start puts development keys (or BELLWETHER_KEYS); by default DIR-keys")
      .option("--development-keys", "serve with development keys even where NODE_ENV is production")
      .action(async (options: UpOptions) => {
        const address = addressOf(options);
        const settings = await readSettings(options.config);
        const developmentKeys = options.developmentKeys === true || context.world.env["NODE_ENV"] !== "production";
        await folderOf(resolve(options.dir));
        const keysDir = keysBeside(options.dir, options.keys ?? context.world.env["BELLWETHER_KEYS"]);
        if (developmentKeys && (await makeKeys(resolve(options.dir), keysDir)))
          context.say(`${DEVELOPMENT_KEYS}\nThey are in ${keysDir}.`);
        const shown = LEVELS.indexOf(settings.log);
        const server = must(
          await start({
            dir: resolve(options.dir),
            mqttPort: options.mqttPort,
            ...address,
            settings,
            developmentKeys,
            log(level, msg, detail) {
              if (LEVELS.indexOf(level) > shown) return;
              const error =
                detail instanceof Error ? { error: detail.message } : detail === undefined ? {} : { detail };
              context.say(
                JSON.stringify({ time: new Date(context.world.nowMs()).toISOString(), level, msg, ...error }),
              );
            },
          }),
        );
        const { url, mqttUrl, tokenFile, madeCa, caFingerprint } = server;
        if (server.developmentKeys) context.say("WARNING: this server's release keys are DEVELOPMENT KEYS.");
        if (madeCa) context.say(DEVELOPMENT_CA);
        const fingerprint = caFingerprint === undefined ? {} : { caFingerprint };
        const ready = { url, mqttUrl, dir: resolve(options.dir), tokenFile, ...fingerprint };
        if (context.format() === "json") await context.write(`${JSON.stringify(ready)}\n`);
        else {
          context.show(ready, [
            { title: "REST", value: () => url },
            { title: "MQTT", value: () => mqttUrl },
            ...(caFingerprint === undefined ? [] : [{ title: "CA", value: () => caFingerprint }]),
            { title: "token", value: () => `${tokenFile} (administrator; use it with --token-file)` },
          ]);
        }
        // Whatever renews the certificate's files says so with SIGHUP; without, they are looked at every hour.
        process.on("SIGHUP", () => void server.reload());
        await told(context);
        await server.close();
      });
  };
}

interface UpOptions extends ListenOptions {
  readonly dir: string;
  readonly port: number;
  readonly mqttPort: number;
  readonly config?: string;
  readonly keys?: string;
  readonly developmentKeys?: boolean;
}

const DEVELOPMENT_KEYS = [
  "WARNING: DEVELOPMENT KEYS were made for this server. The keys that release models lie on this machine:",
  "whoever takes the machine can release models to every device that enrols with it. Do not use them in production.",
].join("\n");

const DEVELOPMENT_CA = [
  "This start made a DEVELOPMENT CA for TLS. Devices and people pin it by the fingerprint below; its key lies on this",
  "machine. In production bring your own certificate with --tls-cert and --tls-key.",
].join("\n");

/** The data directory, before anybody works in it. */
async function folderOf(dir: string): Promise<void> {
  await makeFolder(dir).catch((cause: Error) => {
    throw failure("STORE_UNUSABLE", { dir, reason: cause.message });
  });
}

async function readSettings(file: string | undefined): Promise<Settings> {
  if (file === undefined) return settingsOf({});
  const text = await readFile(file, "utf8").catch((cause: NodeJS.ErrnoException) => {
    throw failure("FILE_UNREADABLE", { file, reason: cause.code ?? cause.message });
  });
  let value: unknown;
  try {
    value = parse(text) ?? {};
  } catch (cause) {
    throw failure("FILE_UNREADABLE", { file, reason: (cause as Error).message });
  }
  return settingsOf(must(settingsFile.check(value)));
}

/** Resolves on SIGTERM or Ctrl-C. */
function told(context: CliContext): Promise<void> {
  return new Promise((resolve) => {
    process.once("SIGTERM", () => resolve());
    if (context.world.signal.aborted) resolve();
    context.world.signal.addEventListener("abort", () => resolve(), { once: true });
  });
}
