import type { AskedRecords, CommittedGroup, GroupMemory, MessageGroup } from "../ingest.ts";
import type { Wire } from "./command.ts";

type Args = AskedRecords & { readonly group: MessageGroup };
/** What is no long list of numbers as texts: it crosses to another thread in half the time of a clone. */
type PackedArgs = AskedRecords & {
  readonly group: Omit<MessageGroup, "sources" | "tape">;
  readonly words: Float64Array;
  readonly sourcesAndTexts: string;
};
type Packed = Omit<CommittedGroup, "batches" | "acks"> & { readonly batchesAndAcks: string };

/** How `ingest.commit` travels: the bytes of a group change hands, they are not copied, and their memory comes back. */
export const ingestWire: Wire<Args, CommittedGroup, PackedArgs, Packed> = {
  packArgs: ({ group, ...asked }) => {
    const { sources, tape, ...rest } = group;
    const sourcesAndTexts = JSON.stringify([sources, tape.texts]);
    return {
      packed: { ...asked, group: rest, words: tape.words, sourcesAndTexts },
      transfer: transferOf(memoryOf(group)),
    };
  },
  unpackArgs: ({ group, words, sourcesAndTexts, ...asked }) => {
    const [sources, texts] = JSON.parse(sourcesAndTexts);
    return { ...asked, group: { ...group, sources, tape: { words, texts } } };
  },
  packAnswer: ({ batches, acks, ...answer }) => ({ ...answer, batchesAndAcks: JSON.stringify([batches, acks]) }),
  handBack: ({ memory }) => transferOf(memory),
  unpackAnswer: (_, { batchesAndAcks, ...packed }) => {
    const [batches, acks] = JSON.parse(batchesAndAcks);
    return { ...packed, batches, acks: acks.map((ack: CommittedGroup["acks"][number] | null) => ack ?? undefined) };
  },
};

/** What a group lies in. */
export function memoryOf({ bytes, tape }: MessageGroup): GroupMemory {
  return { bytes: bytes.buffer as ArrayBuffer, words: tape.words.buffer as ArrayBuffer };
}

function transferOf({ bytes, words }: GroupMemory): ArrayBuffer[] {
  return [bytes, words];
}
