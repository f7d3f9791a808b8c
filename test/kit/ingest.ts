import type { StreamAck } from "@bellwether/protocol/messages/stream.ts";
import { groupOf } from "../../fleet-server/src/ingest/message-group.ts";
import {
  type CommittedBatch,
  type CommittedGroup,
  INGEST_OUTCOMES,
  type IncomingBatch,
  type IngestOutcome,
  type MessageGroup,
} from "../../fleet-server/src/store/ingest.ts";

/** How one message of a group ended, and where its stream stands after the whole group. */
export interface Ended {
  readonly outcome: IngestOutcome;
  readonly ack: StreamAck | undefined;
}

/** Lays messages down as one group, has it committed, and tells of each message how it ended. */
export function commitTogether(
  commit: (args: { group: MessageGroup; withRecords: boolean }) => Promise<CommittedGroup>,
  batches: readonly IncomingBatch[],
): Promise<Ended[]> {
  const group = groupOf(batches);
  const { sourceOf } = group;
  return commit({ group, withRecords: false }).then((committed) => endedOf(sourceOf, committed));
}

/** The same of an answer that is there already. */
export function endedOf(sourceOf: Uint32Array, { outcomes, acks }: Pick<CommittedGroup, "outcomes" | "acks">): Ended[] {
  return Array.from(outcomes, (outcome, index) => ({
    outcome: INGEST_OUTCOMES[outcome] as IngestOutcome,
    ack: acks[sourceOf[index] as number],
  }));
}

export type { CommittedBatch };
