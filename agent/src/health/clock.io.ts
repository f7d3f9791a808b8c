import { randomUUID } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import type { ClockReading } from "@bellwether/protocol/messages/stream.ts";

const SYNCED_AGE_MS_MAX = 60_000;
/** systemd-timesyncd touches this file once it has set the clock (systemd-timesyncd.service(8)). */
const SYNCED_FLAG = "/run/systemd/timesync/synchronized";

/** This boot's id (random(4)), or one of this process where the kernel gives none. */
export function readBootId(): string {
  try {
    return readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
  } catch {
    return randomUUID(); // not Linux: the monotonic clock is then only compared within this process
  }
}

/** Whether something that knows the time set this clock. */
export function isClockSynced(): boolean {
  return existsSync(SYNCED_FLAG);
}

/** Beyond this the wall clock was set; time services slew what is less (ntpd steps above 0.128 s, chrony as told). */
const JUMP_MS_MIN = 60_000;
const LOOK_EVERY_MS = 5_000;

/** Calls `jumped` when the wall clock moved otherwise than the time that passed; the returned function ends that. */
export function watchClock(
  jumped: (jump: { readonly fromMs: number; readonly toMs: number; readonly ranMs: number }) => void,
  now: () => Pick<ClockReading, "wallMs" | "monoMs"> = () => ({ wallMs: Date.now(), monoMs: performance.now() }),
): () => void {
  let before = now();
  const timer = setInterval(() => {
    const after = now();
    const ranMs = after.monoMs - before.monoMs;
    if (Math.abs(after.wallMs - before.wallMs - ranMs) >= JUMP_MS_MIN) {
      jumped({ fromMs: before.wallMs, toMs: after.wallMs, ranMs: Math.round(ranMs) });
    }
    before = after;
  }, LOOK_EVERY_MS);
  timer.unref();
  return () => clearInterval(timer);
}

/** Reads the device's clocks; whether the wall clock is synchronised is asked at most once a minute. */
export function createClock(bootId: string): () => ClockReading {
  let askedAtMs = Number.NEGATIVE_INFINITY;
  let clockSynced = false;
  return () => {
    const monoMs = Number(process.hrtime.bigint() / 1_000n) / 1_000;
    if (monoMs - askedAtMs > SYNCED_AGE_MS_MAX) {
      askedAtMs = monoMs;
      clockSynced = isClockSynced();
    }
    return { bootId, monoMs, wallMs: Date.now(), clockSynced };
  };
}
