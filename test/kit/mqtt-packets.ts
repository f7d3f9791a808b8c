/** Cuts a stream of bytes where MQTT packets end (MQTT-2.2.3). */
export class PacketCutter {
  #rest: Buffer = Buffer.alloc(0);

  /** The packets that are whole now, in their order. */
  push(bytes: Buffer): Buffer[] {
    const all = this.#rest.length === 0 ? bytes : Buffer.concat([this.#rest, bytes]);
    const packets: Buffer[] = [];
    let at = 0;
    for (let end = endOf(all, at); end !== undefined && end <= all.length; end = endOf(all, at)) {
      packets.push(all.subarray(at, end));
      at = end;
    }
    this.#rest = all.subarray(at);
    return packets;
  }
}

/** Where the packet ends that begins at a place; undefined where its length is not whole yet. */
function endOf(bytes: Buffer, at: number): number | undefined {
  let length = 0;
  for (let digit = 1; digit <= 4 && at + digit < bytes.length; digit++) {
    const byte = bytes[at + digit] as number;
    length += (byte & 0x7f) * 128 ** (digit - 1);
    if (byte < 0x80) return at + digit + 1 + length;
  }
  return undefined;
}
