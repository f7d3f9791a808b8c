/**
 * Longest MQTT packet that is taken from a broker: four times what the fleet server may send, and far beyond any
 * message that carries a value.
 */
export const PACKET_BYTES_MAX = 262_144;

type Phase = "header" | "length" | "body";

const PUBLISH = 3;

/**
 * Watches the bytes of one connection, of which the MQTT client gathers a packet in memory until it is whole: says
 * what is wrong as soon as a packet *announces* more than `bytesMax` (MQTT 3.1.1 section 2.2.3: the length stands in
 * front), or is a message at QoS 2, which nobody here subscribes to and the client would keep until its release.
 * Framing that is wrong in any other way is the client's to refuse.
 */
export function createPacketGuard(bytesMax: number): (chunk: Uint8Array) => string | undefined {
  let phase: Phase = "header";
  let length = 0;
  let scale = 1;
  return (chunk) => {
    for (let at = 0; at < chunk.length; ) {
      if (phase === "body") {
        const skipped = Math.min(length, chunk.length - at);
        at += skipped;
        length -= skipped;
        if (length === 0) phase = "header";
        continue;
      }
      const byte = chunk[at++]!;
      if (phase === "header") {
        if (byte >> 4 === PUBLISH && ((byte >> 1) & 3) === 2) return "it sent a message at QoS 2";
        phase = "length";
        length = 0;
        scale = 1;
        continue;
      }
      length += (byte & 127) * scale;
      scale *= 128;
      if (length > bytesMax) return `it sent a packet of over ${bytesMax} bytes`;
      if (byte < 128) phase = length === 0 ? "header" : "body";
      else if (scale > 128 ** 3) return "it sent a packet whose length is none";
    }
    return undefined;
  };
}
