import { performance } from "node:perf_hooks";
import type { ConnectSiteBroker } from "../inputs/input.ts";
import { type Connection, openConnection } from "./connection.io.ts";
import { BACKOFF, backoffMs } from "./machine.ts";

/**
 * A connection to a site's own broker that is tried again for ever, with full jitter: for inputs (and outputs), which
 * get it from `main.ts`. Clean sessions: what the broker sent while the device was away is the site's own business; the
 * device must not find a queue of yesterday as if it were now.
 */
export const connectSiteBroker: ConnectSiteBroker = (options) => {
  let connection: Connection | undefined;
  let timer: NodeJS.Timeout | undefined;
  let attempt = 0;
  let openedAtMs = 0;
  let closed = false;

  async function open(): Promise<void> {
    try {
      connection = await openConnection({
        url: options.url,
        ...(options.username === undefined ? {} : { username: options.username }),
        ...(options.password === undefined ? {} : { password: options.password }),
        onMessage: options.onMessage,
        onClosed: () => {
          if (connection !== undefined) options.onConnected(false);
          connection = undefined;
          again();
        },
      });
      if (closed) return void (await connection.end(false));
      await connection.subscribe(options.topics);
      openedAtMs = performance.now();
      options.onConnected(true);
    } catch {
      // Refused, unreachable, or a filter was refused: said once, and tried again.
      const opened = connection;
      connection = undefined;
      options.onConnected(false);
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
    async close() {
      closed = true;
      clearTimeout(timer);
      await connection?.end(true);
    },
  };
};
