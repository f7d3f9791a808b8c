import type { InferenceRecord, Stream, StreamRecords } from "@bellwether/protocol/messages/stream.ts";
import { unwrap } from "@bellwether/protocol/result.ts";
import { onTestFinished } from "vitest";
import { parseConfig } from "../../agent/src/config/parse.ts";
import { type Pipeline, startPipeline } from "../../agent/src/inference/pipeline.io.ts";
import type { ActiveModel } from "../../agent/src/inference/pipeline.ts";
import type { AgentRole } from "../../agent/src/roles.io.ts";
import { read } from "./outbox.ts";
import { programSpawner } from "./programs.ts";

/** A real pipeline thread, as `run` starts it; closed when the test ends. */
export async function startTestPipeline(
  stateDir: string,
  yaml: string,
  active: readonly ActiveModel[] = [],
): Promise<Pipeline & { readonly problems: string[]; readonly ended: string[] }> {
  const spawner = programSpawner<AgentRole>("bellwether-agent");
  const config = unwrap(parseConfig(yaml, "agent.yaml"));
  const problems: string[] = [];
  const ended: string[] = [];
  const pipeline = await startPipeline(
    (data) => spawner.worker("pipeline", data),
    { stateDir, config, active, bootId: "boot-of-a-test", origin: { site: "plant", device: "edge-1", labels: {} } },
    {
      onEpoch: () => undefined,
      onProblem: (_where, { code }) => void problems.push(code),
      onEnded: (input) => void ended.push(input),
      onFatal: ({ code }) => void problems.push(code),
    },
  );
  if ("code" in pipeline) throw new Error(`${pipeline.code}: ${pipeline.message}`);
  let open = true;
  const close = pipeline.close.bind(pipeline);
  pipeline.close = async () => {
    if (!open) return;
    open = false;
    await close();
  };
  onTestFinished(() => pipeline.close());
  return Object.assign(pipeline, { problems, ended });
}

/** Everything of one stream that the outbox holds, read as a server would. */
export async function recordsOf<S extends Stream>(pipeline: Pipeline, stream: S): Promise<StreamRecords[S][]> {
  const { streams } = await pipeline.open();
  const wanted = streams.reduce((sum, { firstHeld, next }) => sum + next - firstHeld, 0);
  const records: StreamRecords[S][] = [];
  for (let seen = 0; seen < wanted; ) {
    for (const chunk of await pipeline.take(1_000_000)) {
      seen += chunk.toSeq - chunk.fromSeq + 1;
      if (chunk.stream === stream) records.push(...(read(chunk).records as StreamRecords[S][]));
    }
  }
  return records;
}

export function valuesOf(records: readonly InferenceRecord[]): (number | string | undefined)[] {
  return records.map(({ value, error }) => value ?? error);
}
