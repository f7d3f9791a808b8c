import { performance } from "node:perf_hooks";
import type { ConnectSiteBroker } from "../inputs/input.ts";
import type { ConnectPublisher, SitePublisher } from "../outputs/output.ts";
import { type Connection, openNewestConnection } from "./connection.io.ts";
import { BACKOFF, backoffMs } from "./machine.ts";

/**
 * A connection to a site's own broker that is tried again for ever, with full jitter: for inputs (and outputs), which
 * get it from `main.ts`. Clean sessions: what the broker sent while the device was away is the site's own business; the
 * device must not find a queue of yesterday as if it were now.
 */
export const connectSiteBroker: ConnectSiteBroker = (options) => keepConnected(options);

/** The same for outputs, with a last will. */
export const connectSitePublisher: ConnectPublisher = (options) => {
  return keepConnected({ ...options, topics: [], onMessage: () => undefined });
};

/** Messages that a broker has not confirmed yet; beyond, new ones are not sent: memory is no queue. */
const UNCONFIRMED_MAX = 1_000;

type SiteOptions = Parameters<ConnectSiteBroker>[0] & Partial<Pick<Parameters<ConnectPublisher>[0], "will">>;

function keepConnected(options: SiteOptions): SitePublisher {
  let unconfirmed = 0;
  let connection: Connection | undefined;
  let timer: NodeJS.Timeout | undefined;
  let attempt = 0;
  let openedAtMs = 0;
  let closed = false;

  async function open(): Promise<void> {
    let over = false;
    try {
      connection = await openNewestConnection({
        url: options.url,
        ...(options.username === undefined ? {} : { username: options.username }),
        ...(options.password === undefined ? {} : { password: options.password }),
        ...(options.will === undefined ? {} : { will: options.will }),
        onMessage: options.onMessage,
        onClosed: (reason, unfit = false) => {
          over = connection !== undefined;
          connection = undefined;
          if (over && !closed) options.onConnected(false, reason, unfit);
          again();
        },
      });
      if (closed) return void (await connection.end(false));
      if (options.topics.length > 0) await connection.subscribe(options.topics);
      openedAtMs = performance.now();
      options.onConnected(true, "", false);
    } catch (cause) {
      // Its end was told already, with its reason.
      if (over) return;
      // Refused, unreachable, or a filter was refused: said once, and tried again.
      const opened = connection;
      connection = undefined;
      options.onConnected(false, (cause as Error).message, false);
      await opened?.end(false);
      again();
    }
  }

  function again(): void {
    if (closed || timer !== undefined) return;
    if (openedAtMs > 0 && performance.now() - openedAtMs > BACKOFF.steadyMs) attempt = 0;
    openedAtMs = 0;
    timer = setTimeout(
      () => {
        timer = undefined;
        void open();
      },
      backoffMs(attempt++, Math.random(), BACKOFF),
    );
  }

  void open();
  return {
    publish(topic, payload, retain) {
      if (connection === undefined || unconfirmed >= UNCONFIRMED_MAX) return false;
      unconfirmed++;
      const settled = () => void unconfirmed--;
      connection.publish(topic, payload, retain).then(settled, settled);
      return true;
    },
    async close() {
      closed = true;
      clearTimeout(timer);
      await connection?.end(true);
    },
  };
}
