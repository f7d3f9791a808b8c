import type { MessagePort } from "node:worker_threads";
import type { InputTensor, ModelSession, NativeGuard, OutputTensor } from "./session.ts";
import { runLimitMs } from "./session.ts";

/** What is known of a session that stays in the thread that opened it. */
export type HostedFacts = Pick<ModelSession, "slotDir" | "manifest" | "digest" | "reference" | "loadMs">;

/** A session in another thread, and the port over which it is run: for one holder, who closes it by closing the port. */
export interface HostedModel {
  readonly facts: HostedFacts;
  readonly port: MessagePort;
}

interface Asked {
  readonly run: number;
  readonly inputs: readonly InputTensor[];
}
type Answered =
  | { readonly run: number; readonly outputs: Readonly<Record<string, OutputTensor>>; readonly runUs: number }
  | { readonly run: number; readonly error: string };

/** Runs a session for whoever holds the other end of `port`; resolves when that is closed, and the session with it. */
export async function hostSession(port: MessagePort, session: ModelSession): Promise<void> {
  const ended = new Promise((settle) => port.once("close", settle));
  port.on("message", async ({ run, inputs }: Asked) => port.postMessage(await answer(session, run, inputs)));
  await ended;
  await session.close();
}

async function answer(session: ModelSession, run: number, inputs: readonly InputTensor[]): Promise<Answered> {
  try {
    const given = await session.run(inputs);
    const runUs = session.lastRunUs;
    // A tensor of ONNX Runtime does not cross to another thread; what is read of it does.
    const outputs = Object.entries(given).map(([name, { dims, type, data }]) => [name, { dims, type, data }]);
    return { run, outputs: Object.fromEntries(outputs), runUs };
  } catch (cause) {
    return { run, error: (cause as Error).message };
  }
}

/**
 * The session of a model that is hosted in another thread, for the thread that wants its predictions: as one of its own,
 * and nothing of it blocks. `onLost` is told once when the other thread ends unasked; runs then throw.
 */
export function hostedSession(
  { facts, port }: HostedModel,
  { guard, index, onLost }: { readonly guard: NativeGuard; readonly index: number; readonly onLost: () => void },
): ModelSession {
  const limitMs = runLimitMs(facts.manifest);
  const waiting = new Map<number, (answered: Answered) => void>();
  let lastRunUs = 0;
  let runs = 0;
  let closed = false;
  const ended = (run: number): Answered => ({ run, error: "the thread of the model has ended" });
  port.on("message", (answered: Answered) => {
    // Of runs that were asked for together each begins when the one before it has ended.
    guard.leave();
    const settle = waiting.get(answered.run);
    waiting.delete(answered.run);
    if (waiting.size > 0) guard.enter(index, limitMs);
    settle?.(answered);
  });
  port.once("close", () => {
    const unasked = !closed;
    closed = true;
    for (const [run, settle] of waiting) settle(ended(run));
    waiting.clear();
    guard.leave();
    if (unasked) onLost();
  });
  // A session keeps no thread from ending.
  port.unref();
  return {
    ...facts,
    get lastRunUs() {
      return lastRunUs;
    },
    async run(inputs) {
      const run = ++runs;
      const answered = await new Promise<Answered>((settle) => {
        if (closed) return settle(ended(run));
        if (waiting.size === 0) guard.enter(index, limitMs);
        waiting.set(run, settle);
        port.postMessage({ run, inputs: inputs.map(ownBytes) } satisfies Asked);
      });
      if ("error" in answered) throw new Error(answered.error);
      lastRunUs = answered.runUs;
      return answered.outputs;
    },
    async close() {
      closed = true;
      port.close();
    },
  };
}

/** A view of a larger buffer would cross with all of it. */
function ownBytes(input: InputTensor): InputTensor {
  const { data } = input;
  return Array.isArray(data) || data.byteLength === data.buffer.byteLength ? input : { ...input, data: data.slice() };
}
