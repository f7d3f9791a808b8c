import { readFileSync } from "node:fs";
import { setTimeout as wait } from "node:timers/promises";
import type { Problem } from "@bellwether/protocol/errors.ts";
import { err, ok, type Result } from "@bellwether/protocol/result.ts";
import { isDeviceName } from "@bellwether/protocol/topics.ts";
import type { EnrolConfig } from "../config/config.ts";
import { type EnrolOptions, enrol } from "./enrol.io.ts";
import type { Enrolment } from "./enrolment.ts";

/** Where machines keep their serial number; the first that says something counts. */
const SERIAL_FILES = [
  "/sys/firmware/devicetree/base/serial-number",
  "/sys/class/dmi/id/product_serial",
  "/etc/machine-id",
];
const SERIAL_CHARACTERS_MAX = 128;
/** A line that comes up slowly must not cost minutes, a server that refuses must not be asked all day. */
const RETRY_MS = [2_000, 5_000, 15_000, 60_000, 300_000];

export interface FirstBoot {
  readonly stateDir: string;
  readonly config: EnrolConfig;
  /** Finds the CA to pin, and the way to the server. */
  readonly reach: () => Promise<Result<Pick<EnrolOptions, "reach" | "ca">>>;
  /** What the token's file holds. */
  readonly token: (file: string) => string | undefined;
  readonly nowMs: () => number;
  readonly tried: (problem: Problem) => void;
  readonly signal: AbortSignal;
}

/**
 * Enrols a machine that was started from a golden image: with the image's token, under a name made of its own serial
 * number. It is tried until it succeeds or the signal ends it (then undefined): nobody is there to start it again.
 */
export async function enrolAtFirstBoot(boot: FirstBoot): Promise<Enrolment | undefined> {
  for (let tries = 0; !boot.signal.aborted; tries++) {
    const enrolled = await tryOnce(boot);
    if (enrolled.ok) return enrolled.value;
    boot.tried(enrolled.error);
    const waitMs = RETRY_MS[Math.min(tries, RETRY_MS.length - 1)] as number;
    await wait(waitMs, undefined, { signal: boot.signal }).catch(() => undefined);
  }
  return undefined;
}

async function tryOnce({ stateDir, config, reach, token: readToken, nowMs }: FirstBoot): Promise<Result<Enrolment>> {
  const serial = readSerial(config.serialFile === undefined ? SERIAL_FILES : [config.serialFile]);
  if (!serial.ok) return serial;
  const device = deviceNameOf(config.device, serial.value);
  if (!isDeviceName(device)) return err("FIRST_BOOT_NAME", { name: device, serial: serial.value });
  const token = readToken(config.tokenFile);
  if (token === undefined) return err("TOKEN_UNREADABLE", { file: config.tokenFile });
  const reached = await reach();
  if (!reached.ok) return reached;
  const { url: serverUrl } = config;
  return enrol({ ...reached.value, stateDir, serverUrl, token, device, serial: serial.value, nowMs });
}

/** The name that a template gives a serial number; what no name may hold becomes "-". */
export function deviceNameOf(template: string, serial: string): string {
  return template.replaceAll("{serial}", serial.replaceAll(/[^A-Za-z0-9._-]/g, "-"));
}

function readSerial(files: readonly string[]): Result<string> {
  for (const file of files) {
    try {
      // Device trees end their texts with a zero.
      const serial = readFileSync(file, "latin1").replaceAll("\0", "").trim();
      if (serial !== "" && serial.length <= SERIAL_CHARACTERS_MAX) return ok(serial);
    } catch {
      // The next file may be there.
    }
  }
  return err("FIRST_BOOT_SERIAL", { files: files.join(", ") });
}
