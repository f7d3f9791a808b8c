import { STREAMS, type Stream } from "@bellwether/protocol/messages/stream.ts";

/** Share of the line each stream gets while several wait. None starves, the important ones hardly wait. */
export const STREAM_WEIGHTS: Readonly<Record<Stream, number>> = {
  event: 16,
  drift: 8,
  inference: 8,
  telemetry: 4,
  samples: 1,
};

/** How much of its share each stream has saved up; carried from one plan to the next. */
export type Credits = Readonly<Record<Stream, number>>;

export const NO_CREDITS: Credits = { event: 0, drift: 0, inference: 0, telemetry: 0, samples: 0 };

/** The streams to take the next chunk from, in this order, and the credits left. */
export interface SendPlan {
  readonly picks: readonly Stream[];
  readonly credits: Credits;
}

/**
 * Smooth weighted round robin (as nginx balances its upstreams): of the streams that wait, each gains its weight, the
 * richest sends one chunk and pays what all gained. Stops before `maxBytes` is passed, but sends at least one chunk.
 * `waiting` holds the sizes of the chunks of each stream, oldest first.
 */
export function planSend(
  waiting: Readonly<Partial<Record<Stream, readonly number[]>>>,
  credits: Credits,
  maxBytes: number,
): SendPlan {
  const saved = { ...credits };
  const taken: Record<Stream, number> = { event: 0, drift: 0, inference: 0, telemetry: 0, samples: 0 };
  const picks: Stream[] = [];
  let bytes = 0;
  // A stream that has nothing to say saves nothing up: credit is for waiting, not for being idle.
  for (const stream of STREAMS) if ((waiting[stream]?.length ?? 0) === 0) saved[stream] = 0;
  for (;;) {
    const ready = STREAMS.filter((stream) => taken[stream] < (waiting[stream]?.length ?? 0));
    if (ready.length === 0) break;
    const gains = (stream: Stream) => saved[stream] + STREAM_WEIGHTS[stream];
    const pick = ready.reduce((best, stream) => (gains(stream) > gains(best) ? stream : best));
    const size = waiting[pick]?.[taken[pick]] ?? 0;
    if (picks.length > 0 && bytes + size > maxBytes) break;
    for (const stream of ready) saved[stream] += STREAM_WEIGHTS[stream];
    saved[pick] -= ready.reduce((sum, stream) => sum + STREAM_WEIGHTS[stream], 0);
    taken[pick]++;
    picks.push(pick);
    bytes += size;
  }
  return { picks, credits: saved };
}
