import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  ASSET_FEEDS,
  DOWN_KINDS,
  deviceMaySubscribe,
  deviceSays,
  deviceTopic,
  FEED_CLASSES,
  feedFilters,
  filterCovers,
  formatTopic,
  isDeviceName,
  isFilter,
  parseTopic,
  subscriberMaySubscribe,
  type Topic,
  topicMatches,
  UP_KINDS,
} from "./topics.ts";

const name = fc
  .oneof(
    fc.stringMatching(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/),
    fc.constantFrom("up", "down", "cmd", "device", "alarm"),
  )
  .filter((text) => text.length <= 64);
const device = name.filter(isDeviceName);
const topic: fc.Arbitrary<Topic> = fc.oneof(
  fc.record({ kind: fc.constant("up" as const), site: name, device, up: fc.constantFrom(...UP_KINDS) }),
  fc.record({ kind: fc.constant("down" as const), site: name, device, down: fc.constantFrom(...DOWN_KINDS) }),
  fc.record({
    kind: fc.constant("command" as const),
    site: name,
    device,
    direction: fc.constantFrom("down" as const, "up" as const),
    id: name,
  }),
  fc.record({
    kind: fc.constant("feed" as const),
    site: name,
    asset: fc.oneof(name, fc.constant("feed")),
    feed: fc.constantFrom(...ASSET_FEEDS),
  }),
  fc.record({ kind: fc.constant("alarm" as const), site: name, asset: name, alarm: name }),
  fc.record({ kind: fc.constant("presence" as const), site: name, device }),
);
const level = fc.oneof(fc.constantFrom("a", "b", "", "+", "#", "up", "down", "feed", "last"), name);
const filter = fc.oneof(
  fc.array(level, { minLength: 1, maxLength: 7 }).map((levels) => levels.join("/")),
  topic.map(formatTopic),
  fc.string(),
);

describe("every topic, both ways", () => {
  test.each([
    ["bw/v1/plant-a/gw-1/up/telemetry", { kind: "up", site: "plant-a", device: "gw-1", up: "telemetry" }],
    ["bw/v1/plant-a/gw-1/down/ack", { kind: "down", site: "plant-a", device: "gw-1", down: "ack" }],
    ["bw/v1/p/gw-1/down/cmd/7", { kind: "command", site: "p", device: "gw-1", direction: "down", id: "7" }],
    ["bw/v1/p/gw-1/up/cmd/7", { kind: "command", site: "p", device: "gw-1", direction: "up", id: "7" }],
    ["bw/v1/p/feed/pump-3/prediction", { kind: "feed", site: "p", asset: "pump-3", feed: "prediction" }],
    ["bw/v1/p/feed/pump-3/alarm/wear", { kind: "alarm", site: "p", asset: "pump-3", alarm: "wear" }],
    ["bw/v1/p/feed/gw-1/device", { kind: "presence", site: "p", device: "gw-1" }],
    // An asset may be called anything, even like a direction: the fourth level decides.
    ["bw/v1/p/feed/up/telemetry", { kind: "feed", site: "p", asset: "up", feed: "telemetry" }],
  ] satisfies [string, Topic][])("%s", (text, parts) => {
    expect(parseTopic(text)).toEqual({ ok: true, value: parts });
    expect(formatTopic(parts)).toBe(text);
  });

  test("parse is the inverse of format, and no two topics share a text", () => {
    fc.assert(
      fc.property(topic, (parts) => {
        expect(parseTopic(formatTopic(parts))).toEqual({ ok: true, value: parts });
      }),
    );
  });

  test("any other text is refused with a code and never throws", () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), filter), (text) => {
        const parsed = parseTopic(text);
        if (parsed.ok) expect(formatTopic(parsed.value)).toBe(text);
        else expect(parsed.error.code).toBe("INVALID_TOPIC");
      }),
    );
  });

  test.each([
    "bw/v1",
    "bw/v2/p/gw-1/up/state",
    "bw/v1/p/gw-1/up",
    "bw/v1/p/gw-1/up/ack",
    "bw/v1/p/gw-1/down/telemetry",
    "bw/v1/p/gw-1/up/state/",
    "bw/v1/p/gw-1/up/cmd/7/8",
    "bw/v1/p/gw-1/up/+",
    "bw/v1/p/feed/a/alarm",
    "bw/v1//gw-1/up/state",
    "/bw/v1/p/gw-1/up/state",
  ])("%s is refused", (text) => {
    expect(parseTopic(text).ok).toBe(false);
  });
});

describe("who may use what", () => {
  const own = deviceTopic("p", "gw-1");

  test("a device says only what is its own, and hears only what is meant for it", () => {
    fc.assert(
      fc.property(name, device, filter, (site, gateway, text) => {
        // It compares where parseTopic takes apart: both must say the same.
        const parsed = parseTopic(text);
        const said =
          parsed.ok && "device" in parsed.value && parsed.value.device === gateway && parsed.value.site === site;
        const up =
          parsed.ok && (parsed.value.kind === "up" || parsed.value.kind === "command") ? parsed.value : undefined;
        const kind =
          up?.kind === "up" ? up.up : up?.kind === "command" && up.direction === "up" ? "command" : undefined;
        expect(deviceSays(site, gateway, text)).toBe(said ? kind : undefined);
        if (deviceMaySubscribe(site, gateway, text)) {
          expect(text.startsWith(`bw/v1/${site}/${gateway}/down`)).toBe(true);
        }
      }),
    );
  });

  test.each([
    [own.up("telemetry"), true],
    [own.command("7", "up"), true],
    [own.command("7", "down"), false],
    [own.down("desired"), false],
    [deviceTopic("p", "gw-2").up("telemetry"), false],
    [deviceTopic("q", "gw-1").up("telemetry"), false],
    ["bw/v1/p/feed/pump-3/last", false],
    ["bw/v1/p/gw-1/up/nonsense", false],
  ])("publishing to %s: %s", (text, allowed) => {
    expect(deviceSays("p", "gw-1", text) !== undefined).toBe(allowed);
  });

  test.each([
    ["bw/v1/p/gw-1/down/#", true],
    ["bw/v1/p/gw-1/down/ack", true],
    ["bw/v1/p/gw-1/down/cmd/+", true],
    ["bw/v1/p/gw-1/#", false],
    ["bw/v1/p/+/down/#", false],
    ["bw/v1/p/gw-2/down/#", false],
    ["bw/v1/p/gw-1/up/#", false],
    ["bw/v1/p/gw-1/down/#/x", false],
    ["#", false],
    ["$SYS/#", false],
    ["$share/g/bw/v1/p/gw-1/down/#", false],
  ])("a device subscribing to %s: %s", (text, allowed) => {
    expect(deviceMaySubscribe("p", "gw-1", text)).toBe(allowed);
  });

  test.each([
    ["bw/v1/p/feed/#", { sites: ["p"], classes: "all" }, true],
    ["bw/v1/p/feed/+/last", { sites: ["p"], classes: "all" }, true],
    ["bw/v1/+/feed/#", { sites: ["p"], classes: "all" }, false],
    ["bw/v1/+/feed/#", { sites: "all", classes: "all" }, true],
    ["bw/v1/q/feed/#", { sites: ["p"], classes: "all" }, false],
    ["bw/v1/p/feed/#", { sites: ["p"], classes: ["prediction"] }, false],
    ["bw/v1/p/feed/+/prediction", { sites: ["p"], classes: ["prediction"] }, true],
    ["bw/v1/p/feed/pump-3/prediction", { sites: ["p"], classes: ["prediction"] }, true],
    ["bw/v1/p/feed/pump-3/telemetry", { sites: ["p"], classes: ["prediction"] }, false],
    ["bw/v1/p/feed/pump-3/alarm/+", { sites: ["p"], classes: ["alarm"] }, true],
    ["bw/v1/p/gw-1/up/telemetry", { sites: ["p"], classes: "all" }, false],
    ["bw/v1/p/+/up/telemetry", { sites: "all", classes: "all" }, false],
    ["#", { sites: "all", classes: "all" }, false],
  ] as const)("a subscriber asking for %s", (text, scope, allowed) => {
    expect(subscriberMaySubscribe(scope, text)).toBe(allowed);
  });

  test("no account can reach a device's own topics, whatever its scope", () => {
    const scope = fc.record({
      sites: fc.oneof(fc.constant("all" as const), fc.array(name, { maxLength: 3 })),
      classes: fc.oneof(fc.constant("all" as const), fc.subarray([...FEED_CLASSES])),
    });
    fc.assert(
      fc.property(scope, topic, (rights, parts) => {
        const reachable = feedFilters(rights).some((allowed) => topicMatches(allowed, formatTopic(parts)));
        if (["up", "down", "command"].includes(parts.kind)) expect(reachable).toBe(false);
      }),
    );
  });
});

describe("filters", () => {
  test("what a filter covers it matches: covering is about every topic", () => {
    fc.assert(
      fc.property(filter, filter, topic.map(formatTopic), (outer, inner, text) => {
        if (filterCovers(outer, inner) && topicMatches(inner, text)) expect(topicMatches(outer, text)).toBe(true);
      }),
      { numRuns: 2_000 },
    );
  });

  test("a valid filter covers itself; an invalid one is covered by nothing", () => {
    fc.assert(
      fc.property(filter, (text) => {
        expect(filterCovers(text, text)).toBe(isFilter(text));
        if (!isFilter(text)) expect(filterCovers("#", text)).toBe(false);
      }),
    );
  });

  test.each(["", "a+", "a/#/b", "a#", "+a", "a/b#", "a\0b"])("%j is no filter", (text) => {
    expect(isFilter(text)).toBe(false);
  });
});
