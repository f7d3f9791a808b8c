import { dirname, isAbsolute, join } from "node:path";
import { err, ok, type Result } from "@bellwether/protocol/result.ts";
import { FEED_CLASSES } from "@bellwether/protocol/topics.ts";
import { isMap, isSeq, LineCounter, type Node, parseDocument, type YAMLError } from "yaml";
import { checkConfig } from "./checks.ts";
import type { AgentConfig, EnrolConfig } from "./config.ts";
import { inputReader, mqttUrl } from "./inputs.ts";
import {
  boolean,
  EnoughFaults,
  integer,
  list,
  name,
  number,
  object,
  oneOf,
  optional,
  Reading,
  record,
  required,
  text,
  withDefault,
  writtenName,
} from "./reading.ts";

/** Longest configuration. */
export const CONFIG_BYTES_MAX = 1_048_576;

const bufferDefault = {
  maxBytes: 268_435_456,
  maxAgeHours: 90 * 24,
  commitMs: 250,
  writeBytesPerDay: 17_179_869_184,
  joinMs: 2_000,
  retainAckedHours: 1,
};

const linkDefault = { websocket: false, backfillBytesPerSecond: 1_048_576 };

const path = text("a path", 4_096, (v) => v.length > 0);
const proxyUrl = text("an address such as http://proxy.plant:3128, without user or password in it", 512, (v) => {
  const url = URL.parse(v);
  return url !== null && /^https?:$/.test(url.protocol) && url.hostname !== "" && !v.includes("@");
});
const linkShape = object({
  websocket: withDefault(boolean, false),
  backfillBytesPerSecond: withDefault(integer(4_096, 2 ** 40), linkDefault.backfillBytesPerSecond),
  clientCertificate: optional(object({ certificateFile: required(path), keyFile: required(path) })),
  proxy: optional(
    object({
      url: required(proxyUrl),
      credentialsFile: optional(path),
      caFile: optional(path),
      intercepts: withDefault(boolean, false),
    }),
  ),
});

const httpUrl = text("an address such as https://fleet.example.com:8443", 512, (v) => {
  const url = URL.parse(v);
  return url !== null && /^https?:$/.test(url.protocol) && url.hostname !== "";
});
const enrolShape = object({
  url: required(httpUrl),
  tokenFile: required(path),
  ca: optional(path),
  device: withDefault(
    text('a name, in which "{serial}" stands for the serial number', 64, (v) => /^[A-Za-z0-9._{}-]+$/.test(v)),
    "{serial}",
  ),
  serialFile: optional(path),
});

function shape(assets: readonly string[]) {
  return object({
    heartbeatMs: withDefault(integer(100, 3_600_000), 10_000),
    server: withDefault(object({ mqttUrl: optional(mqttUrl) }), {}),
    link: withDefault(linkShape, linkDefault),
    enrol: optional(enrolShape),
    assets: required(list(object({ id: required(name) }), 1_000)),
    inputs: required(list(inputReader(assets), 64, 1)),
    outputs: withDefault(
      list(
        object({
          type: required(oneOf(["mqtt"])),
          url: required(mqttUrl),
          username: optional(text("a user name", 256)),
          passwordFile: optional(path),
          classes: withDefault(list(oneOf(FEED_CLASSES), 6, 1), [...FEED_CLASSES]),
        }),
        4,
      ),
      [],
    ),
    models: withDefault(
      list(
        object({
          model: required(name),
          assets: optional(list(name, 10_000, 1)),
          channels: withDefault(record(name, 1_024), {}),
        }),
        64,
      ),
      [],
    ),
    updates: withDefault(object({ maxBytesPerSecond: optional(integer(4_096, 2 ** 40)) }), {}),
    buffer: withDefault(
      object({
        maxBytes: withDefault(integer(1_048_576, 2 ** 40), bufferDefault.maxBytes),
        maxAgeHours: withDefault(number(1, 10 * 366 * 24), bufferDefault.maxAgeHours),
        commitMs: withDefault(integer(10, 10_000), bufferDefault.commitMs),
        writeBytesPerDay: withDefault(integer(1_048_576, 2 ** 50), bufferDefault.writeBytesPerDay),
        joinMs: withDefault(integer(0, 60_000), bufferDefault.joinMs),
        retainAckedHours: withDefault(number(0, 30 * 24), bufferDefault.retainAckedHours),
      }),
      bufferDefault,
    ),
  });
}

/**
 * Reads a configuration (YAML 1.2, or JSON, which is YAML). The error is the first fault, with file, line, key and
 * what was expected; `detail.all` has code and sentence of every fault found (at most 50).
 */
export function parseConfig(text: string, fileName: string): Result<AgentConfig> {
  const size = Buffer.byteLength(text);
  if (size > CONFIG_BYTES_MAX) {
    return err("TOO_LARGE", {
      what: `The configuration ${fileName}`,
      actual: size,
      unit: "bytes",
      limit: CONFIG_BYTES_MAX,
    });
  }
  const lines = new LineCounter();
  // Keys that stand twice are found by our own readers, in one pass.
  const document = withoutStacks(() =>
    parseDocument(text, { lineCounter: lines, strict: true, uniqueKeys: false, prettyErrors: false }),
  );
  const fault = document.errors[0] ?? document.warnings[0];
  if (fault !== undefined) {
    return err("CONFIG_YAML", { file: fileName, line: lines.linePos(fault.pos[0]).line, reason: reasonOf(fault) });
  }
  const reading = new Reading(fileName, lines);
  const config = readWhole(document.contents, reading);
  const [first] = reading.problems;
  if (first !== undefined) {
    const all = reading.problems.map(({ code, message }) => ({ code, message }));
    return { ok: false, error: { ...first, detail: { ...first.detail, all } } };
  }
  const folder = dirname(fileName);
  const { link, inputs, outputs, enrol } = config!;
  return ok({
    ...config!,
    inputs: inputs.map((input) => placed(input, folder)),
    outputs: outputs.map((output) => placed(output, folder)),
    link: linkPlaced(link, folder),
    ...(enrol === undefined ? {} : { enrol: enrolPlaced(enrol, folder) }),
  });
}

/**
 * The YAML reader makes an error of every fault it finds, and a megabyte may hold 900,000: their stacks, which nobody
 * reads, would cost ten times as much as everything else (12 s instead of 1.2 s).
 */
function withoutStacks<T>(read: () => T): T {
  const limit = Error.stackTraceLimit;
  Error.stackTraceLimit = 0;
  try {
    return read();
  } finally {
    Error.stackTraceLimit = limit;
  }
}

/** The configuration, or what could be read of it: every fault is in `reading`. */
function readWhole(contents: Node | null, reading: Reading): AgentConfig | undefined {
  try {
    const read = shape(assetIds(contents))(reading, contents, "");
    const config = read === undefined ? undefined : { fileName: reading.file, ...read };
    if (config !== undefined) checkConfig(config, reading);
    return config;
  } catch (cause) {
    if (cause instanceof EnoughFaults) return undefined;
    throw cause;
  }
}

/** The YAML reader speaks to programmers in two places. */
function reasonOf({ code, message }: YAMLError): string {
  if (code === "MULTIPLE_DOCS") return "a second document begins here, and only one is read";
  if (/call stack/.test(message)) return "it is nested too deeply";
  return message.split("\n")[0]!.replace(/\.$/, "");
}

/** What may name a file. */
type Placeable = { readonly type: string; readonly file?: string; readonly passwordFile?: string | undefined };

/** Files are named from the configuration's own folder, wherever the agent is started. */
function placed<T extends Placeable>(input: T, folder: string): T {
  const at = (file: string) => (isAbsolute(file) ? file : join(folder, file));
  const { file, passwordFile } = input;
  return {
    ...input,
    ...(file === undefined ? {} : { file: at(file) }),
    ...(passwordFile === undefined ? {} : { passwordFile: at(passwordFile) }),
  };
}

function enrolPlaced(enrol: EnrolConfig, folder: string): EnrolConfig {
  const at = (file: string) => (isAbsolute(file) ? file : join(folder, file));
  const { ca, tokenFile, serialFile } = enrol;
  return {
    ...enrol,
    tokenFile: at(tokenFile),
    ...(serialFile === undefined ? {} : { serialFile: at(serialFile) }),
    ...(ca === undefined || ca.startsWith("sha256:") ? {} : { ca: at(ca) }),
  };
}

function linkPlaced(link: AgentConfig["link"], folder: string): AgentConfig["link"] {
  const at = (file: string) => (isAbsolute(file) ? file : join(folder, file));
  const own = link.clientCertificate;
  const certified = own && {
    clientCertificate: { certificateFile: at(own.certificateFile), keyFile: at(own.keyFile) },
  };
  if (link.proxy === undefined) return { ...link, ...certified };
  const { credentialsFile, caFile } = link.proxy;
  return {
    ...link,
    ...certified,
    proxy: {
      ...link.proxy,
      ...(credentialsFile === undefined ? {} : { credentialsFile: at(credentialsFile) }),
      ...(caFile === undefined ? {} : { caFile: at(caFile) }),
    },
  };
}

/** The ids under `assets`, whatever else may be wrong there: that is reported where it is read. */
function assetIds(contents: Node | null): string[] {
  const assets = isMap(contents) ? contents.get("assets") : undefined;
  if (!isSeq(assets)) return [];
  return assets.items.flatMap((item) => {
    const id = isMap(item) ? writtenName(item.get("id", true) as Node | undefined) : undefined;
    return id === undefined ? [] : [id];
  });
}
