import { writeSync } from "node:fs";
import { resolve } from "node:path";
import { type Problem, problem } from "@bellwether/protocol/errors.ts";
import type { RoleSpawner } from "@bellwether/protocol/process/roles.io.ts";
import type { Result } from "@bellwether/protocol/result.ts";
import { startAgent } from "./agent.io.ts";
import { faultsOf, loadConfig } from "./cli/config-check.ts";
import { readToken } from "./cli/enroll.ts";
import type { AgentConfig } from "./config/config.ts";
import { isClockSynced } from "./health/clock.io.ts";
import { clearTextUrl } from "./link/address.ts";
import { readIdentity } from "./link/enrol.io.ts";
import type { Identity } from "./link/enrolment.ts";
import { enrolAtFirstBoot } from "./link/first-boot.io.ts";
import { openReach } from "./link/reach.io.ts";
import { createLogger, type Logger, type LogLevel } from "./log.ts";
import { reachServer } from "./reach-server.io.ts";
import type { AgentRole } from "./roles.io.ts";

/** An agent that was asked to stop is gone within 5 s, whatever hangs. */
const STOP_MS_MAX = 4_500;

export interface RunOptions {
  readonly configFile: string;
  readonly stateDir: string;
  readonly logLevel: LogLevel;
  readonly spawner: RoleSpawner<AgentRole>;
}

/** `bellwether-agent run`: resolves with the exit code when the agent has stopped. */
export async function run({ configFile, stateDir, logLevel, spawner }: RunOptions): Promise<number> {
  const log = createLogger({ level: logLevel, nowMs: Date.now, write: writeLog });
  const config = loadConfig(configFile);
  if (!config.ok) {
    for (const { code, message } of faultsOf(config.error)) log.error(message, { code });
    return 1;
  }
  const path = resolve(stateDir);
  const identity = await ownIdentity(path, config.value, configFile, log);
  if (identity === undefined) return 0;
  if (!identity.ok) return refuse(log, identity.error);
  const reach = openReach({ stateDir: path, ...config.value.link, clockSynced: isClockSynced });
  if (!reach.ok) return refuse(log, reach.error);
  const clear = clearTextUrl(config.value, identity.value.enrolment);
  if (clear !== undefined) return refuse(log, problem("LINK_INSECURE", { url: clear }));

  // A broken invariant: say where, and let the service start a clean process.
  for (const event of ["uncaughtException", "unhandledRejection"] as const) {
    process.on(event, (cause: unknown) => {
      log.error("something inside broke; this process ends", { event, cause });
      process.kill(process.pid, "SIGKILL");
    });
  }
  const stopping = new AbortController();
  const stopped = new Promise<void>((stop) => {
    const begin = (signal: NodeJS.Signals) => {
      if (stopping.signal.aborted) return;
      log.info("the agent stops", { signal });
      setTimeout(() => {
        log.error("stopping took too long; what is durable is sent after the next start");
        process.kill(process.pid, "SIGKILL");
      }, STOP_MS_MAX);
      stopping.abort();
      stop();
    };
    for (const signal of ["SIGTERM", "SIGINT"] as const) process.on(signal, begin);
  });
  const agent = await startAgent({
    config: config.value,
    stateDir: path,
    identity: identity.value,
    reach: reach.value,
    spawner,
    log,
    signal: stopping.signal,
    onFatal: (problem) => {
      refuse(log, problem);
      // Threads may hold native locks: nothing but the end of the process is safe, and its service starts it again.
      process.exit(1);
    },
  });
  if (!agent.ok) return stopping.signal.aborted ? 0 : 1;
  const { device, site } = identity.value.enrolment;
  log.info("the agent runs", { device, site, pid: process.pid, node: process.versions.node });

  await stopped;
  await agent.value.stop();
  log.info("the agent has stopped");
  return 0;
}

/** Who the device is; a machine of a golden image enrols itself first. Undefined when it was told to stop before. */
async function ownIdentity(
  stateDir: string,
  { enrol: config, link }: AgentConfig,
  configFile: string,
  log: Logger,
): Promise<Result<Identity> | undefined> {
  const known = readIdentity(stateDir);
  if (known.ok || known.error.code !== "AGENT_NOT_ENROLLED" || config === undefined) return known;
  const stop = new AbortController();
  const told = () => stop.abort();
  process.once("SIGTERM", told).once("SIGINT", told);
  log.info("this device is not enrolled: it enrols itself", { url: config.url });
  const { url, ca } = config;
  const enrolled = await enrolAtFirstBoot({
    stateDir,
    config,
    reach: () =>
      reachServer({
        url,
        state: stateDir,
        ...(ca === undefined ? {} : { ca }),
        ...(link.proxy ? { config: configFile } : {}),
      }),
    token: readToken,
    nowMs: Date.now,
    tried: ({ message, code }) => log.warn(message, { code }),
    signal: stop.signal,
  });
  process.off("SIGTERM", told).off("SIGINT", told);
  if (enrolled === undefined) return undefined;
  log.info("the device is enrolled", { device: enrolled.device, site: enrolled.site, phase: enrolled.phase });
  return readIdentity(stateDir);
}

function refuse(log: Logger, { code, message, detail }: Problem): number {
  log.error(message, { code, detail });
  return 1;
}

function writeLog(line: string): void {
  try {
    writeSync(2, line);
  } catch {
    // A full pipe or a reader that went away must not stop a device; the line is lost.
  }
}
