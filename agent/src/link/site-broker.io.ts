import { connect } from "mqtt";
import type { ConnectSiteBroker } from "../inputs/input.ts";

const RECONNECT_MS = 2_000;
const RECONNECT_JITTER_MS = 2_000;
const CONNECT_TIMEOUT_MS = 10_000;

/**
 * Listens to topics of a site broker, connecting again for ever. Clean session and QoS 1: what the broker sent while
 * the device was away is the site's own business, the device must not find a queue of yesterday as if it were now.
 */
export const connectSiteBroker: ConnectSiteBroker = ({ url, username, password, topics, onMessage, onConnected }) => {
  const client = connect(url, {
    clean: true,
    connectTimeout: CONNECT_TIMEOUT_MS,
    // Devices of one site that lose a broker together must not come back together.
    reconnectPeriod: RECONNECT_MS + Math.random() * RECONNECT_JITTER_MS,
    resubscribe: false,
    ...(username === undefined ? {} : { username }),
    ...(password === undefined ? {} : { password }),
  });
  let connected = false;
  client.on("connect", () => {
    client.subscribe([...topics], { qos: 1 }, (cause, granted) => {
      const refused = cause !== null || (granted ?? []).some(({ qos }) => qos === 128);
      connected = !refused;
      onConnected(!refused);
      // A refused subscription is as good as no connection: the next one may be allowed.
      if (refused) client.reconnect();
    });
  });
  client.on("close", () => {
    if (connected) onConnected(false);
    connected = false;
  });
  client.on("message", (topic, payload) => onMessage(topic, payload));
  // "close" follows each error and says the same; without a listener the process would end.
  client.on("error", () => undefined);
  return {
    async close() {
      await client.endAsync(true);
    },
  };
};
