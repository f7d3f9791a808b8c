import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fetchOver } from "@bellwether/protocol/tls/fetch.io.ts";
import { eventually } from "./eventually.ts";
import { runProcess, startProcess, type TestProcess } from "./processes.ts";

/** A real fleet server of a test's own: its process, its addresses and its administrator. */
export interface TestFleet {
  readonly process: TestProcess;
  readonly url: string;
  readonly mqttUrl: string;
  /** With TLS: where devices are told it is, the CA's PEM, and its fingerprint. */
  readonly publicUrl: string;
  readonly ca: string | undefined;
  readonly caFingerprint: string;
  readonly caFile: string;
  readonly dir: string;
  /** A REST call as administrator; throws what is not 2xx. */
  // biome-ignore lint/suspicious/noExplicitAny: an answer of any shape, judged by the test
  call(target: string, body?: unknown): Promise<any>;
  /** Stores a file under its digest. */
  putBlob(digest: string, bytes: Uint8Array): Promise<void>;
  /** Committed samples, one object per row. */
  samples(query?: string): Promise<readonly SampleRow[]>;
}

export interface SampleRow {
  readonly device: string;
  readonly asset: string;
  readonly observedAtMs: number;
  readonly epoch: number;
  readonly seq: number;
  readonly values: Readonly<Record<string, number | null>>;
}

/** A busy machine takes its time to start a server. */
const READY_MS_MAX = 60_000;

/** Starts `bellwether up` below a folder, on free ports unless they are given. */
export async function startFleet(
  dir: string,
  options: {
    readonly port?: number;
    readonly mqttPort?: number;
    readonly settings?: string;
    readonly tls?: readonly string[];
    /** A file with the CA of a certificate of the test's own. */
    readonly reachedBy?: string;
  } = {},
): Promise<TestFleet> {
  const port = String(options.port ?? 0);
  const where = options.tls ? ["--listen", `127.0.0.1:${port}`, ...options.tls] : ["--port", port];
  const ports = [...where, "--mqtt-port", String(options.mqttPort ?? 0)];
  const settings = join(dir, "..", "server.yaml");
  if (options.settings !== undefined) writeFileSync(settings, options.settings);
  const config = options.settings === undefined ? [] : ["--config", settings];
  const server = startProcess("bellwether", ["up", "--dir", dir, ...ports, ...config, "-o", "json"]);
  const ready = await server.line(
    "ready",
    (line) => {
      return line.startsWith("{") && (JSON.parse(line) as Readonly<Record<string, string>>);
    },
    READY_MS_MAX,
  );
  const { url: publicUrl = "", mqttUrl = "", tokenFile = "", caFingerprint = "" } = ready;
  // Its name may be one that only a proxy knows; its certificate is for the address too.
  const url = publicUrl.replace(/(?<=:\/\/)[^:]+/, "127.0.0.1");
  const caFile = options.reachedBy ?? join(dir, "tls/ca.crt");
  const ca = existsSync(caFile) ? readFileSync(caFile, "utf8") : undefined;
  // The test itself does not ask what time it is.
  const transport = ca === undefined ? {} : { ca, time: { clockSynced: false, floorMs: 0 } };
  const token = readFileSync(tokenFile, "utf8").trim();
  async function fetched(target: string, body?: unknown): Promise<Response> {
    const [method = "GET", path = target] = target.split(" ");
    const response = await fetchOver(transport, `${url}${path}`, {
      method,
      headers: {
        authorization: `Bearer ${token}`,
        ...(body === undefined ? {} : { "content-type": "application/json" }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    if (!response.ok) throw new Error(`${target}: ${response.status} ${await response.text()}`);
    return response;
  }
  return {
    process: server,
    url,
    mqttUrl,
    publicUrl,
    ca,
    caFingerprint,
    caFile,
    dir,
    call: async (target, body) => (await fetched(target, body)).json(),
    async putBlob(digest, bytes) {
      const headers = { authorization: `Bearer ${token}`, "content-type": "application/octet-stream" };
      const asking = { method: "PUT", headers, body: Buffer.from(bytes) };
      const response = await fetchOver(transport, `${url}/v1/blobs/${digest}`, asking);
      if (!response.ok) throw new Error(`PUT blob: ${response.status} ${await response.text()}`);
    },
    async samples(query = "") {
      const text = await (await fetched(`GET /v1/samples${query}`)).text();
      return text
        .split("\n")
        .filter((line) => line !== "")
        .map((line) => JSON.parse(line) as SampleRow);
    },
  };
}

/** The values behind predictions of a device, by their time: telemetry waits a little to travel together, predictions do not. */
export function rowsBehind(
  fleet: TestFleet,
  device: string,
  predictions: readonly { readonly observedAtMs: number }[],
): Promise<ReadonlyMap<number, SampleRow["values"]>> {
  return eventually("the rows behind the predictions", async () => {
    const samples = await fleet.samples(`?device=${device}`);
    const found = new Map(samples.map(({ observedAtMs, values }) => [observedAtMs, values]));
    return predictions.every(({ observedAtMs }) => found.has(observedAtMs)) && found;
  });
}

/** Enrols a device as its owner would: a token from the server in a file, then `bellwether-agent enroll`. */
export async function enrolDevice(
  fleet: TestFleet,
  stateDir: string,
  device: string,
  token: Readonly<Record<string, unknown>> = {},
  ...more: readonly string[]
): Promise<void> {
  const args = [...(await enrolArgs(fleet, stateDir, device, token)), ...more];
  const { ended, stderr } = await runProcess("bellwether-agent", args);
  if (ended !== 0) throw new Error(`enrolling ${device} ended with ${ended}: ${stderr}`);
}

/** The command line that enrols a device, with a fresh token. */
export async function enrolArgs(
  fleet: TestFleet,
  stateDir: string,
  device: string,
  token: Readonly<Record<string, unknown>> = {},
): Promise<string[]> {
  const { secret } = await fleet.call("POST /v1/enrolment-tokens", { site: "plant", ...token });
  const tokenFile = `${stateDir}.token`;
  writeFileSync(tokenFile, secret, { mode: 0o600 });
  return ["enroll", "--url", fleet.publicUrl, "--token-file", tokenFile, "--device", device, "--state", stateDir];
}
