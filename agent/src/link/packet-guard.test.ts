import fc from "fast-check";
import { expect, it } from "vitest";
import { createPacketGuard } from "./packet-guard.ts";

const PINGRESP = Uint8Array.of(0xd0, 0);

/** A PUBLISH whose length field says `length`: MQTT 3.1.1 section 2.2.3. */
function publish(length: number, qos = 1): Buffer {
  const digits: number[] = [];
  for (let rest = length; digits.length === 0 || rest > 0; rest = Math.floor(rest / 128)) {
    digits.push((rest % 128) + (rest >= 128 ? 128 : 0));
  }
  return Buffer.concat([Uint8Array.of(0x30 | (qos << 1), ...digits), Buffer.alloc(length, 0xff)]);
}

it("passes whole streams of packets up to the limit, however they are cut", () => {
  const sizes = fc.array(fc.integer({ min: 0, max: 900 }), { maxLength: 8 });
  fc.assert(
    fc.property(sizes, fc.integer({ min: 1, max: 700 }), (bodies, step) => {
      const stream = Buffer.concat([PINGRESP, ...bodies.map((bytes) => publish(bytes))]);
      const guard = createPacketGuard(900);
      for (let at = 0; at < stream.length; at += step) expect(guard(stream.subarray(at, at + step))).toBeUndefined();
    }),
  );
});

it.each([
  ["one byte too many", publish(901).subarray(0, 3), /over 900 bytes/],
  ["the longest packet there is", Buffer.from([0x30, 0xff, 0xff, 0xff, 0x7f]), /over 900 bytes/],
  ["a length without end", Buffer.from([0x30, 0x80, 0x80, 0x80, 0x80]), /length/],
  ["a message at QoS 2", publish(1, 2).subarray(0, 1), /QoS 2/],
])("ends at %s, before its body and after other packets", (_what, bytes, reason) => {
  for (const before of [Buffer.alloc(0), publish(10)]) {
    const guard = createPacketGuard(900);
    const said = [...Buffer.concat([before, bytes])].map((byte) => guard(Uint8Array.of(byte)));
    expect(said.find((fault) => fault !== undefined) ?? "nothing was said").toMatch(reason);
  }
});
