import type { AskedRecords, CommittedGroup, MessageGroup } from "../ingest.ts";
import type { Wire } from "./command.ts";

type Args = AskedRecords & { readonly group: MessageGroup };
/** Records as one text: it crosses to another thread in half the time of a clone. */
type Packed = Omit<CommittedGroup, "batches"> & { readonly batches: string };

/** How `ingest.commit` travels: the bytes of a group change hands, they are not copied. */
export const ingestWire: Wire<Args, CommittedGroup, Args, Packed> = {
  packArgs: (args) => ({ packed: args, transfer: [args.group.bytes.buffer as ArrayBuffer] }),
  unpackArgs: (packed) => packed,
  release: ({ group }) => void (group.bytes.buffer as ArrayBuffer).transfer(0),
  packAnswer: (answer) => ({ ...answer, batches: JSON.stringify(answer.batches) }),
  unpackAnswer: (_, packed) => ({ ...packed, batches: JSON.parse(packed.batches) }),
};
