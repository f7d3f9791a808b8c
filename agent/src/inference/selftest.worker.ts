import { type Golden, parseGolden, runGolden, vectorOf } from "@bellwether/protocol/package/golden.ts";
import { buildTensors } from "@bellwether/protocol/package/tensors.ts";
import { err, ok, type Result } from "@bellwether/protocol/result.ts";
import type { VerifiedModel } from "../trust/verified-model.ts";
import type { SelfTestFindings } from "../update/machine.ts";
import type { SelfTestAnswer } from "../update/selftest.io.ts";
import { openSession } from "./session.io.ts";
import type { ModelSession } from "./session.ts";

type ReadGolden = (verified: VerifiedModel) => Promise<Result<Uint8Array>>;

/** Runs that are timed, and how long timing may take where each is slow. */
const TIMED_RUNS = 31;
const TIMED_MS_MAX = 2_000;

/**
 * Role "selftest", a child process: loads a slot's verified model and holds it against its golden vectors, at the batch sizes it will be
 * run at. Whatever the model does to this process stays in it.
 */
export async function runSelfTest(verified: Result<VerifiedModel>, readGolden: ReadGolden): Promise<void> {
  const tested = verified.ok ? await test(verified.value, readGolden) : verified;
  const answer: SelfTestAnswer = tested.ok
    ? { ok: true, findings: tested.value }
    : { ok: false, problem: tested.error };
  process.send?.(answer, () => process.disconnect());
}

async function test(verified: VerifiedModel, readGolden: ReadGolden): Promise<Result<SelfTestFindings>> {
  const session = await openSession(verified);
  if (!session.ok) return session;
  const bytes = await readGolden(verified);
  if (!bytes.ok) return bytes;
  const golden = parseGolden(bytes.value, session.value.manifest);
  if (!golden.ok) return golden;
  const { manifest, run } = session.value;
  const report = await runGolden(manifest, golden.value, run);
  if (!report.ok) return report;
  const medianUs = await medianLatencyUs(session.value, golden.value);
  const limitUs = manifest.limits.p99LatencyMs * 1_000;
  // Live inference judges the tail; here half of all runs is asked, which a busy moment of the device does not move.
  if (medianUs > limitUs) return err("SELF_TEST_TOO_SLOW", { medianUs: Math.round(medianUs), limitUs });
  return ok({ goldenMaxError: report.value.maxDifference });
}

/** Median time of a run of one vector, on the device it will serve on. */
async function medianLatencyUs(session: ModelSession, { cases }: Golden): Promise<number> {
  const timesUs: number[] = [];
  const startMs = performance.now();
  for (let i = 0; i < TIMED_RUNS && (i === 0 || performance.now() - startMs < TIMED_MS_MAX); i++) {
    await session.run(buildTensors(session.manifest, [vectorOf(cases[i % cases.length]!)]));
    timesUs.push(session.lastRunUs);
  }
  return timesUs.sort((a, b) => a - b)[timesUs.length >> 1]!;
}
