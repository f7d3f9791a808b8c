/**
 * Ten thousand devices in a process of their own. Orders come as JSON lines on standard input, one at a time; each is
 * answered by one line.
 */
import { createInterface } from "node:readline";
import { setTimeout as wait } from "node:timers/promises";
import { claimsOf } from "@bellwether/protocol/trust/director.ts";
import { BenchDevice, HEARTBEAT_MS, type Target } from "./device.ts";

export type FleetOrder =
  | {
      readonly do: "enrol";
      readonly target: Target;
      readonly site: string;
      readonly token: string;
      readonly devices: number;
    }
  /** Connects those that are not, up to this many. */
  | { readonly do: "connect"; readonly target: Target; readonly devices: number }
  /** Answers when every connected device has a document it did not have, each a different one. */
  | { readonly do: "documents"; readonly version: number }
  /** Cuts every connection and answers when all are back. */
  | { readonly do: "storm" };

export interface FleetAnswer {
  /** When the last device had what was waited for, milliseconds since 1970. */
  readonly atMs: number;
  readonly online: number;
  /** Since the last answer. */
  readonly timeouts: number;
  readonly refused: number;
}

const ENROL_AT_ONCE = 16;
/** Devices that begin in one look at the clock, while they are brought up. */
const START_AT_ONCE = 20;
const LOOK_MS = 20;
const WAIT_MS_MAX = 180_000;

const devices: BenchDevice[] = [];
const counts = { timeouts: 0, refused: 0 };
let connected = 0;

void speakOn();
for await (const line of createInterface({ input: process.stdin })) {
  const atMs = await carryOut(JSON.parse(line) as FleetOrder);
  const answer: FleetAnswer = { atMs, online: online(), ...counts };
  counts.timeouts = 0;
  counts.refused = 0;
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
process.exit(0);

async function carryOut(order: FleetOrder): Promise<number> {
  if (order.do === "enrol") await enrol(order);
  else if (order.do === "connect") await bringUp(order.devices, order.target);
  else if (order.do === "documents") return await documents(order.version);
  else {
    const before = devices.map(({ session }) => session);
    for (const device of devices) device.cut();
    await until("every device is back", () =>
      devices.every(({ session }, n) => n >= connected || (session ?? before[n]) !== before[n]),
    );
  }
  return Date.now();
}

async function enrol({ target, site, token, devices: count }: FleetOrder & { do: "enrol" }): Promise<void> {
  let next = 1;
  const one = async () => {
    while (next <= count) {
      const device = new BenchDevice(next++, site, target, counts);
      await device.enrol(token);
      devices.push(device);
    }
  };
  await Promise.all(Array.from({ length: ENROL_AT_ONCE }, one));
}

async function bringUp(count: number, target: Target): Promise<void> {
  while (connected < count) {
    for (let n = 0; n < START_AT_ONCE && connected < count; n++) devices[connected++]?.start(target);
    await wait(LOOK_MS);
  }
  await until(`${count} devices are online`, () => online() === count);
}

async function documents(version: number): Promise<number> {
  const mine = devices.slice(0, connected);
  const before = mine.map(({ document }) => document);
  await until("every device has a new document", () => mine.every(({ document }, n) => document !== before[n]));
  const atMs = Date.now();
  for (const { name, document } of mine) {
    const claims = claimsOf(document as Buffer);
    if (claims?.device !== name) throw new Error(`${name} was given a document of ${claims?.device}`);
    if (claims.models[0]?.version !== version) throw new Error(`${name} was given ${JSON.stringify(claims.models)}`);
  }
  return atMs;
}

/** Every device speaks once in the time of a heartbeat, evenly spread. */
async function speakOn(): Promise<void> {
  for (let at = 0, fromMs = performance.now(); ; await wait(LOOK_MS)) {
    const share = (performance.now() - fromMs) / HEARTBEAT_MS;
    for (; at < share * connected; at++) devices[at]?.speak();
    if (share < 1) continue;
    at = 0;
    fromMs = performance.now();
  }
}

function online(): number {
  return devices.reduce((sum, { isOnline }) => sum + (isOnline ? 1 : 0), 0);
}

async function until(what: string, holds: () => boolean): Promise<void> {
  for (const fromMs = performance.now(); !holds(); await wait(LOOK_MS)) {
    if (performance.now() - fromMs > WAIT_MS_MAX) throw new Error(`not within ${WAIT_MS_MAX} ms: ${what}`);
  }
}
