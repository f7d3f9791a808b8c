import type { MessagePort, Worker } from "node:worker_threads";
import { type Problem, problem } from "@bellwether/protocol/errors.ts";
import type { Result } from "@bellwether/protocol/result.ts";
import type { VerifiedModel } from "../trust/verified-model.ts";
import { type HostedFacts, hostSession } from "./hosted-session.io.ts";
import { openSession } from "./session.io.ts";

/** What trying a candidate told. Its thread keeps the session until it is told what becomes of it ({@link CandidateFate}). */
export type CandidateVerdict =
  | { readonly ok: true; readonly openMs: number; readonly facts: HostedFacts }
  | { readonly ok: false; readonly problem: Problem };

/** To be served from where it is, over this port, or closed again. */
export type CandidateFate = { readonly host: MessagePort } | "close";

/** Role "candidate": opens a slot's verified model in a thread of its own, and serves it from there or closes it again. */
export async function runCandidate(port: MessagePort, verify: () => Promise<Result<VerifiedModel>>): Promise<void> {
  const startMs = performance.now();
  const verified = await verify();
  const opened = verified.ok ? await openSession(verified.value) : verified;
  if (!opened.ok) {
    port.postMessage({ ok: false, problem: opened.error } satisfies CandidateVerdict);
    return port.close();
  }
  const session = opened.value;
  const { slotDir, manifest, digest, reference, loadMs } = session;
  const openMs = performance.now() - startMs;
  port.once("message", async (fate: CandidateFate) => {
    if (fate === "close") await session.close();
    else await hostSession(fate.host, session);
    port.close();
  });
  const facts: HostedFacts = { slotDir, manifest, digest, reference, loadMs };
  port.postMessage({ ok: true, openMs, facts } satisfies CandidateVerdict);
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
    const timer = setTimeout(() => {
      settle(refused(`it did not load within ${limitMs} ms`));
      // Should it load after all, nobody wants it any more.
      worker.postMessage("close" satisfies CandidateFate);
    }, limitMs);
    const done = (verdict: CandidateVerdict) => {
      clearTimeout(timer);
      settle(verdict);
    };
    worker.once("message", done);
    // Also later, when it serves: who asks it for predictions sees its port close.
    worker.on("error", (cause) => done(refused((cause as Error).message)));
    worker.once("exit", (code) => done(refused(`its thread ended with code ${code}`)));
  });
}
