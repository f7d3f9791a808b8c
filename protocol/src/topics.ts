import { isName } from "./ids.ts";
import { STREAMS, type Stream } from "./messages/stream.ts";
import { err, ok, type Result } from "./result.ts";

/** First two levels of every topic: product and version of the topic layout. */
export const TOPIC_ROOT = "bw/v1";

/** What a device says. The streams are durable, the others describe its present state. */
export const UP_KINDS = ["state", "birth", "reported", ...STREAMS] as const;
export type UpKind = "state" | "birth" | "reported" | Stream;

/** What a device is told. */
export const DOWN_KINDS = ["ack", "desired", "baseline"] as const;
export type DownKind = (typeof DOWN_KINDS)[number];

/** Classes of the feed that are about an asset; `alarm` has one more level, its name. */
export const ASSET_FEEDS = ["last", "telemetry", "prediction", "drift"] as const;
export type AssetFeed = (typeof ASSET_FEEDS)[number];
/** Everything a subscriber account can be limited to. */
export const FEED_CLASSES = [...ASSET_FEEDS, "alarm", "device"] as const;
export type FeedClass = (typeof FEED_CLASSES)[number];

/** One topic, taken apart. `formatTopic` and `parseTopic` are each other's inverse. */
export type Topic =
  | { readonly kind: "up"; readonly site: string; readonly device: string; readonly up: UpKind }
  | { readonly kind: "down"; readonly site: string; readonly device: string; readonly down: DownKind }
  | {
      /** A command on its way down, or its result on the way up. */
      readonly kind: "command";
      readonly site: string;
      readonly device: string;
      readonly direction: "down" | "up";
      readonly id: string;
    }
  | { readonly kind: "feed"; readonly site: string; readonly asset: string; readonly feed: AssetFeed }
  | { readonly kind: "alarm"; readonly site: string; readonly asset: string; readonly alarm: string }
  | { readonly kind: "presence"; readonly site: string; readonly device: string };

// "bw/v1/{site}/feed/up/telemetry" must mean one thing only.
const RESERVED_DEVICE = "feed";

/** Whether a text can name a device: a name, and not the level where the feed begins. */
export function isDeviceName(text: string): boolean {
  return isName(text) && text !== RESERVED_DEVICE;
}

/** The text of a topic. Throws on a name that no schema would have let through. */
export function formatTopic(topic: Topic): string {
  const root = `${TOPIC_ROOT}/${named(topic.site)}`;
  switch (topic.kind) {
    case "up":
      return `${root}/${deviceNamed(topic.device)}/up/${topic.up}`;
    case "down":
      return `${root}/${deviceNamed(topic.device)}/down/${topic.down}`;
    case "command":
      return `${root}/${deviceNamed(topic.device)}/${topic.direction}/cmd/${named(topic.id)}`;
    case "feed":
      return `${root}/feed/${named(topic.asset)}/${topic.feed}`;
    case "alarm":
      return `${root}/feed/${named(topic.asset)}/alarm/${named(topic.alarm)}`;
    case "presence":
      return `${root}/feed/${deviceNamed(topic.device)}/device`;
  }
}

/** Takes a topic apart; anything that is not exactly one of ours answers `INVALID_TOPIC`. */
export function parseTopic(text: string): Result<Topic> {
  const refuse = (reason: string) => err("INVALID_TOPIC", { topic: text.slice(0, 200), reason });
  // The longest possible topic has six levels of 64; more is not worth splitting.
  if (text.length > 400) return refuse("it is too long");
  const levels = text.split("/");
  const [product, version, site = "", owner = "", fifth = "", sixth = "", seventh] = levels;
  if (`${product}/${version}` !== TOPIC_ROOT) return refuse(`it does not begin with ${TOPIC_ROOT}`);
  if (!isName(site)) return refuse("the site is not a name");
  const topic =
    owner === RESERVED_DEVICE
      ? parseFeed(site, fifth, sixth, seventh)
      : isName(owner)
        ? parseDevice(site, owner, fifth, sixth, seventh)
        : undefined;
  if (topic === undefined || levels.length > 7) return refuse("no such levels below the site");
  return ok(topic);
}

function parseDevice(site: string, device: string, way: string, what: string, id?: string): Topic | undefined {
  if (what === "cmd") {
    if ((way !== "up" && way !== "down") || id === undefined || !isName(id)) return undefined;
    return { kind: "command", site, device, direction: way, id };
  }
  if (id !== undefined) return undefined;
  if (way === "up" && UP_KINDS.includes(what as UpKind)) return { kind: "up", site, device, up: what as UpKind };
  if (way === "down" && DOWN_KINDS.includes(what as DownKind)) {
    return { kind: "down", site, device, down: what as DownKind };
  }
  return undefined;
}

function parseFeed(site: string, about: string, feed: string, alarm?: string): Topic | undefined {
  if (!isName(about)) return undefined;
  if (feed === "alarm") {
    return alarm !== undefined && isName(alarm) ? { kind: "alarm", site, asset: about, alarm } : undefined;
  }
  if (alarm !== undefined) return undefined;
  if (feed === "device") return isDeviceName(about) ? { kind: "presence", site, device: about } : undefined;
  if (ASSET_FEEDS.includes(feed as AssetFeed)) return { kind: "feed", site, asset: about, feed: feed as AssetFeed };
  return undefined;
}

/** The topics of one device. */
export interface DeviceTopics {
  up(kind: UpKind): string;
  down(kind: DownKind): string;
  command(id: string, direction: "down" | "up"): string;
  /** Filters that reach everything the device is told, and nothing else. */
  readonly downFilters: readonly string[];
}

/** The topics of one device: `deviceTopic("plant-a", "gw-1").up("telemetry")`. */
export function deviceTopic(site: string, device: string): DeviceTopics {
  return {
    up: (kind) => formatTopic({ kind: "up", site, device, up: kind }),
    down: (kind) => formatTopic({ kind: "down", site, device, down: kind }),
    command: (id, direction) => formatTopic({ kind: "command", site, device, direction, id }),
    downFilters: [`${TOPIC_ROOT}/${named(site)}/${deviceNamed(device)}/down/#`],
  };
}

/**
 * What a device says on a topic of its own: the kind, or "command" for a command's result; undefined where it may not publish.
 * It stands in the way of every message, so it compares instead of parsing.
 */
export function deviceSays(site: string, device: string, topic: string): UpKind | "command" | undefined {
  const own = `${TOPIC_ROOT}/${site}/${device}/up/`;
  if (!topic.startsWith(own)) return undefined;
  const what = topic.slice(own.length);
  if (UP_KINDS.includes(what as UpKind)) return what as UpKind;
  return what.startsWith("cmd/") && isName(what.slice(4)) ? "command" : undefined;
}

/** Whether a device may subscribe with a filter: only below its own `down`. */
export function deviceMaySubscribe(site: string, device: string, filter: string): boolean {
  return deviceTopic(site, device).downFilters.some((own) => filterCovers(own, filter));
}

/** What a subscriber account may read: some sites or "all", and some classes of the feed or "all". */
export interface FeedScope {
  readonly sites: readonly string[] | "all";
  readonly classes: readonly FeedClass[] | "all";
}

/** The widest filters an account may use; every filter it asks for must be covered by one of them. */
export function feedFilters(scope: FeedScope): string[] {
  const sites = scope.sites === "all" ? ["+"] : scope.sites.map(named);
  return sites.flatMap((site) => {
    const root = `${TOPIC_ROOT}/${site}/feed`;
    if (scope.classes === "all") return [`${root}/#`];
    return scope.classes.map((name) => (name === "alarm" ? `${root}/+/alarm/+` : `${root}/+/${name}`));
  });
}

/** Whether an account may subscribe with a filter. Subscribers publish nothing at all. */
export function subscriberMaySubscribe(scope: FeedScope, filter: string): boolean {
  return feedFilters(scope).some((allowed) => filterCovers(allowed, filter));
}

/** Whether a filter matches a topic (MQTT 3.1.1, 4.7; ours never begin with "$"). */
export function topicMatches(filter: string, topic: string): boolean {
  return !/[+#]/.test(topic) && filterCovers(filter, topic);
}

/**
 * Whether every topic that `inner` matches is matched by `outer` too: how a wish is held against a right. A filter
 * that MQTT does not allow is covered by nothing.
 */
export function filterCovers(outer: string, inner: string): boolean {
  if (!isFilter(inner) || !isFilter(outer)) return false;
  const wide = outer.split("/");
  const narrow = inner.split("/");
  for (let level = 0; ; level++) {
    const right = wide[level];
    const wish = narrow[level];
    // "a/#" matches "a" too (MQTT-4.7.1-2), so a right to "a/#" covers the wish "a".
    if (right === "#") return true;
    if (right === undefined || wish === undefined) return right === wish;
    if (wish === "#" || (right !== "+" && right !== wish)) return false;
  }
}

/** Whether MQTT allows a text as a filter, and it is short enough to be one of ours. */
export function isFilter(text: string): boolean {
  if (text.length === 0 || text.length > 512 || text.includes("\0")) return false;
  const levels = text.split("/");
  return levels.every((level, index) =>
    level.includes("#") ? level === "#" && index === levels.length - 1 : !level.includes("+") || level === "+",
  );
}

function named(name: string): string {
  if (!isName(name)) throw new Error(`not a name: ${JSON.stringify(name)}`);
  return name;
}

function deviceNamed(name: string): string {
  if (!isDeviceName(name)) throw new Error(`not a device name: ${JSON.stringify(name)}`);
  return name;
}
