import type { MessagePort, Worker } from "node:worker_threads";
import { type Problem, problem } from "@bellwether/protocol/errors.ts";
import type { Result } from "@bellwether/protocol/result.ts";
import type { VerifiedModel } from "../trust/verified-model.ts";
import { openSession } from "./session.io.ts";

/** What trying a candidate told. */
export type CandidateVerdict =
  | { readonly ok: true; readonly loadMs: number }
  | { readonly ok: false; readonly problem: Problem };

/** Role "candidate": opens a slot's verified model in a thread of its own and closes it again. */
export async function runCandidate(port: MessagePort, verified: Result<VerifiedModel>): Promise<void> {
  const opened = verified.ok ? await openSession(verified.value) : verified;
  const verdict: CandidateVerdict = opened.ok
    ? { ok: true, loadMs: opened.value.loadMs }
    : { ok: false, problem: opened.error };
  if (opened.ok) await opened.value.close();
  port.postMessage(verdict);
  port.close();
}

/**
 * Loads a candidate beside the serving thread first: a model that does not load here never interrupts the one that
 * serves, and its files are in the page cache when the serving thread opens them. A native hang cannot be ended in a
 * thread, so `limitMs` makes it a verdict and the caller decides; the self-test in a child has passed before.
 */
export function tryCandidate(worker: Worker, limitMs: number): Promise<CandidateVerdict> {
  const refused = (reason: string): CandidateVerdict => ({
    ok: false,
    problem: problem("CANDIDATE_LOST", { reason }),
  });
  return new Promise((settle) => {
    const timer = setTimeout(() => settle(refused(`it did not load within ${limitMs} ms`)), limitMs);
    const done = (verdict: CandidateVerdict) => {
      clearTimeout(timer);
      settle(verdict);
    };
    worker.once("message", done);
    worker.once("error", (cause) => done(refused((cause as Error).message)));
    worker.once("exit", (code) => done(refused(`its thread ended with code ${code}`)));
  });
}
