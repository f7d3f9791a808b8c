import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as wait } from "node:timers/promises";
import { fetchOver } from "@bellwether/protocol/tls/fetch.io.ts";
import { onTestFinished } from "vitest";
import { temporaryFolder } from "./folder.ts";
import { programFile } from "./programs.ts";

/** An answer of the REST API; `body` is parsed where it is JSON. */
export interface Answer {
  readonly http: number;
  readonly headers: Headers;
  // biome-ignore lint/suspicious/noExplicitAny: an answer of any shape, judged by the test
  readonly body: any;
}

/** A real fleet server: `bellwether up` as a process of its own. */
export interface Bellwether {
  readonly dir: string;
  readonly url: string;
  readonly mqttUrl: string;
  readonly mqttPort: number;
  readonly pid: number;
  readonly admin: string;
  /** With TLS: the CA's PEM, and its fingerprint as `up` printed it. */
  readonly ca: string | undefined;
  readonly caFingerprint: string | undefined;
  /** Lines of its log so far. */
  readonly log: readonly string[];
  /** True while the process runs. */
  alive(): boolean;
  /** Resident memory in MB. */
  rssMb(): number;
  /** `call("POST /v1/devices/gw-1/approve", {…})`, as administrator unless another token is given; null is none. */
  call(target: string, body?: unknown, options?: CallOptions): Promise<Answer>;
  stop(signal?: NodeJS.Signals): Promise<void>;
}

export interface CallOptions {
  readonly token?: string | null;
  readonly headers?: Readonly<Record<string, string>>;
}

/** Starts `bellwether up` on free ports; stopped when the test (or the hook's suite, with `until`) ends. */
export async function startBellwether(
  options: {
    dir?: string;
    config?: string;
    until?: "test" | "caller";
    env?: Readonly<Record<string, string>>;
    tls?: readonly string[];
    /** More of the command line. */
    more?: readonly string[];
  } = {},
): Promise<Bellwether> {
  const dir = options.dir ?? join(temporaryFolder("bellwether-up-"), "data");
  mkdirSync(dir, { recursive: true });
  const args = [programFile("bellwether"), "-o", "json", "up", "--dir", dir, "--mqtt-port", "0"];
  // With TLS, and whatever more is said about it.
  args.push(...(options.tls ? ["--listen", "127.0.0.1:0", ...options.tls] : ["--port", "0"]));
  args.push(...(options.more ?? []));
  if (options.config !== undefined) {
    const file = join(dir, "settings.yaml");
    writeFileSync(file, options.config);
    args.push("--config", file);
  }
  const child = spawn(process.execPath, args, {
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, ...options.env },
  });
  const log: string[] = [];
  createInterface({ input: child.stderr }).on("line", (line) => log.push(line));
  const stop = stopper(child);
  if (options.until !== "caller") onTestFinished(() => stop());
  const ready = await firstLine(child, log);
  const { url, mqttUrl, tokenFile, caFingerprint } = JSON.parse(ready) as Record<string, string>;
  const ca = existsSync(join(dir, "tls/ca.crt")) ? readFileSync(join(dir, "tls/ca.crt"), "utf8") : undefined;
  const admin = readFileSync(tokenFile as string, "utf8").trim();
  const pid = child.pid as number;
  return {
    dir,
    url: url as string,
    mqttUrl: mqttUrl as string,
    mqttPort: Number(new URL(mqttUrl as string).port),
    pid,
    admin,
    ca,
    caFingerprint,
    log,
    alive: () => child.exitCode === null && child.signalCode === null,
    rssMb: () => Number(/VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]) / 1024,
    call: (target, body, more = {}) => call({ url: url as string, ca }, target, body, { token: admin, ...more }),
    stop,
  };
}

function stopper(child: ChildProcess): (signal?: NodeJS.Signals) => Promise<void> {
  const gone = new Promise<void>((done) => child.once("exit", () => done()));
  return async (signal = "SIGTERM") => {
    if (child.exitCode === null && child.signalCode === null) child.kill(signal);
    await gone;
  };
}

function firstLine(child: ChildProcess, log: readonly string[]): Promise<string> {
  return new Promise((done, fail) => {
    if (child.stdout) createInterface({ input: child.stdout }).once("line", done);
    child.once("exit", (code) => fail(new Error(`bellwether up ended with ${code}:\n${log.join("\n")}`)));
    child.once("error", fail);
  });
}

async function call(
  { url, ca }: { url: string; ca: string | undefined },
  target: string,
  body: unknown,
  options: CallOptions,
): Promise<Answer> {
  const [method = "GET", path = target] = target.split(" ");
  const raw = typeof body === "string" || body instanceof Uint8Array;
  const answer = await fetchOver(ca === undefined ? {} : { ca }, url + path, {
    method,
    headers: {
      ...(options.token ? { authorization: `Bearer ${options.token}` } : {}),
      ...(body === undefined ? {} : { "content-type": "application/json" }),
      ...options.headers,
    },
    ...(body === undefined ? {} : { body: raw ? (body as string) : JSON.stringify(body) }),
  });
  const text = await answer.text();
  if (answer.status === 429) {
    // A fast machine asks more a minute than one address may; like any good client, this one waits as it is told.
    await wait(Number(answer.headers.get("retry-after")) * 1000);
    return call({ url, ca }, target, body, options);
  }
  const json = /[/+]json/.test(answer.headers.get("content-type") ?? "") && text !== "";
  return { http: answer.status, headers: answer.headers, body: json ? JSON.parse(text) : text };
}
