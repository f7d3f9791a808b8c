import { machineTime } from "@bellwether/protocol/process/time.io.ts";
import { openConnection } from "./connection.io.ts";
import { MqttLink } from "./link.ts";
import type { Link, LinkOptions } from "./ports.ts";

/** The link of a device over the network; it does nothing until it is started. */
export function createLink(options: LinkOptions): Link {
  return new MqttLink(options, { time: machineTime, connect: openConnection });
}
