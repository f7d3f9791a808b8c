import type { CommittedGroup, MessageGroup } from "../ingest.ts";
import type { Wire } from "./command.ts";

interface Args {
  readonly group: MessageGroup;
  readonly withRecords: boolean;
}

/** How `ingest.commit` travels: the bytes of a group change hands, they are not copied. */
export const ingestWire: Wire<Args, CommittedGroup, Args, CommittedGroup> = {
  packArgs: (args) => ({ packed: args, transfer: [args.group.bytes.buffer as ArrayBuffer] }),
  unpackArgs: (packed) => packed,
  packAnswer: (answer) => answer,
  unpackAnswer: (_, packed) => packed,
};
