import type { TelemetryRow } from "@bellwether/protocol/messages/stream.ts";

/**
 * One row as a Sparkplug B 3.0 DDATA payload (sparkplug_b.proto): a timestamp, a sequence number and a metric per channel with alias,
 * timestamp, datatype and double. Aliases are what a DBIRTH makes of names, the smallest a publisher may send.
 */
export function sparkplug({ observedAtMs, values }: TelemetryRow): Buffer {
  const time = varint(observedAtMs);
  const metrics = Object.values(values).map((value, alias) => {
    const double = Buffer.alloc(8);
    double.writeDoubleLE(value ?? 0);
    // Fields 2 alias, 3 timestamp, 4 datatype (10: Double), 7 is_null or 13 double_value.
    const said = value === null ? Buffer.of(0x38, 1) : Buffer.concat([Buffer.of(0x69), double]);
    const metric = Buffer.concat([Buffer.of(0x10), varint(alias), Buffer.of(0x18), time, Buffer.of(0x20, 10), said]);
    return Buffer.concat([Buffer.of(0x12), varint(metric.length), metric]);
  });
  return Buffer.concat([Buffer.of(0x08), time, ...metrics, Buffer.of(0x18, 1)]);
}

function varint(value: number): Buffer {
  const bytes: number[] = [];
  for (let rest = BigInt(value); ; rest >>= 7n) {
    if (rest < 128n) return Buffer.from([...bytes, Number(rest)]);
    bytes.push(Number(rest & 127n) | 128);
  }
}
