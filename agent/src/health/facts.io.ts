import { arch, cpus, hostname, machine, release, totalmem, type } from "node:os";
import packageJson from "../../package.json" with { type: "json" };

/** The agent's version: facts, births and the compatibility check name it. */
export const AGENT_VERSION: string = packageJson.version;

/**
 * What selectors and the compatibility check may know of this device. Texts, because labels and facts are matched
 * alike. Nothing here needs a child process or a network.
 */
export function deviceFacts(): Readonly<Record<string, string>> {
  return {
    arch: arch(),
    machine: machine(),
    os: type(),
    kernel: release(),
    node: process.versions.node,
    agentVersion: AGENT_VERSION,
    cpus: String(cpus().length),
    memoryMb: String(Math.round(totalmem() / 1_048_576)),
    hostname: hostname().slice(0, 128),
  };
}
