import type { AgentConfig } from "../config/config.ts";
import type { Enrolment } from "./enrolment.ts";

type Addressed = Pick<AgentConfig, "server" | "link">;
type Enrolled = Pick<Enrolment, "serverUrl" | "mqttUrl">;

/** Where MQTT is spoken: what the configuration says, or the REST API's own port, or what the server said at enrolment. */
export function brokerUrl({ server, link }: Addressed, { serverUrl, mqttUrl }: Enrolled): string {
  if (server.mqttUrl !== undefined) return server.mqttUrl;
  if (!link.websocket) return mqttUrl;
  const url = new URL(serverUrl);
  return `${url.protocol === "https:" ? "wss" : "ws"}://${url.host}/mqtt`;
}

/** The broker's address where it would be spoken to in clear text by a device that enrolled over TLS. */
export function clearTextUrl(config: Addressed, enrolment: Enrolled): string | undefined {
  const url = brokerUrl(config, enrolment);
  return enrolment.serverUrl.startsWith("https:") && !/^(mqtts|wss):/.test(url) ? url : undefined;
}
