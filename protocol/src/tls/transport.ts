import type { KnownTime } from "./verify.ts";

/** A proxy that lets CONNECT through. */
export interface ProxyServer {
  /** http://host:port, or https:// where the proxy itself speaks TLS. */
  readonly url: string;
  readonly username?: string;
  readonly password?: string;
  /** PEM of the CAs of the proxy's own TLS; absent: public ones. */
  readonly ca?: string;
  /** The proxy opens TLS and shows certificates of `ca` in everybody's name. */
  readonly intercepts?: boolean;
}

/** How a server is reached and believed. Plain data, so that threads can be given it. */
export interface Transport {
  /** PEM of the pinned CAs; absent: public ones, judged by this machine's clock. */
  readonly ca?: string;
  readonly proxy?: ProxyServer;
  /** What this side shows, where the server wants to see a certificate. */
  readonly client?: { readonly certificate: string; readonly key: string };
  readonly time?: Omit<KnownTime, "nowMs">;
}

/** A machine that people keep: its clock is right, and nothing stands between. */
export const DIRECT: Transport = {};
