import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { TimeMs } from "@bellwether/protocol/ids.ts";
import { validator } from "@bellwether/protocol/schema.ts";
import { type Static, Type } from "typebox";
import { writeDurably } from "../durable.io.ts";

/** Why the process ended itself: read by its next life. */
export const HangNote = Type.Object({
  v: Type.Literal(1),
  atMs: TimeMs,
  kind: Type.Union([Type.Literal("hung"), Type.Literal("stalled")]),
  ms: Type.Number({ minimum: 0 }),
  limitMs: Type.Number({ minimum: 0 }),
  /** The slot whose native call did not come back; a stall has none. */
  slotDir: Type.Optional(Type.String({ maxLength: 4_096 })),
});
export type HangNote = Static<typeof HangNote>;
const hangNote = validator("The hang note", HangNote);

const FILE = "hang.json";

/**
 * Writes the reason down and kills the own process: a thread stuck in native code answers neither `terminate()` nor
 * `process.exit()`, both wait for it for ever. Without a reason on disk it dies all the same: serving again matters more.
 */
export function dieOfHang(stateDir: string, note: HangNote, failed: (cause: unknown) => void): never {
  try {
    writeDurably(join(stateDir, FILE), JSON.stringify(note));
  } catch (cause) {
    failed(cause);
  }
  process.kill(process.pid, "SIGKILL");
  // SIGKILL needs a moment to arrive; nothing may run meanwhile.
  for (;;) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1_000);
}

/** What the process before this one died of, if it wrote it down. */
export function readHang(stateDir: string): HangNote | undefined {
  try {
    const note = hangNote.parse(readFileSync(join(stateDir, FILE)));
    return note.ok ? note.value : undefined;
  } catch {
    return undefined; // no note, or a disk that cannot be read, which every other room will say
  }
}

/** The consequences are drawn and persisted: the note must not be read again. */
export function forgetHang(stateDir: string): void {
  rmSync(join(stateDir, FILE), { force: true });
}
