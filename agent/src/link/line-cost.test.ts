import mqtt from "mqtt-packet";
import { expect, test } from "vitest";
import { packetBytes } from "./line-cost.ts";

test.each([0, 1, 80, 110, 111, 112, 113, 16_365, 16_366, 16_367, 60_000])(
  "a payload of %i bytes costs what the MQTT library writes for it",
  (length) => {
    const topic = "bw/v1/site/device-é/up/telemetry";
    const payload = Buffer.alloc(length);
    const packet = { cmd: "publish", topic, payload, qos: 1, dup: false, retain: false, messageId: 7 } as const;
    expect(packetBytes(topic, length)).toBe(mqtt.generate(packet).length);
  },
);
