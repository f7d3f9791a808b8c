import { readFileSync } from "node:fs";
import { BATCH_BYTES_MAX, BATCH_JSON_BYTES_MAX, BATCH_SCHEMAS } from "@bellwether/protocol/batch.ts";
import { CarriedBaseline } from "@bellwether/protocol/messages/baseline.ts";
import { BirthMessage, ReportedMessage, StateMessage } from "@bellwether/protocol/messages/device.ts";
import {
  AlarmFeed,
  DeviceFeed,
  DriftFeed,
  LastFeed,
  PredictionFeed,
  TelemetryFeed,
} from "@bellwether/protocol/messages/feed.ts";
import { AckMessage } from "@bellwether/protocol/messages/stream.ts";
import { type DownKind, type FeedClass, formatTopic, type Topic, type UpKind } from "@bellwether/protocol/topics.ts";
import { DIRECTOR_TYPE, DirectorDocument } from "@bellwether/protocol/trust/director.ts";
import { Envelope } from "@bellwether/protocol/trust/envelope.ts";
import type { TSchema } from "typebox";

/** One topic as the documents describe it. */
interface Channel {
  readonly topic: Topic;
  readonly message: string;
  readonly schema: TSchema;
  readonly retained: boolean;
  /** What it says, in a sentence or two. */
  readonly says: string;
}

// Names that become placeholders: the topics are built by the very functions that device and server use.
const [site, device, asset, alarm] = ["SITE", "DEVICE", "ASSET", "ALARM"];

function addressOf(topic: Topic): string {
  return formatTopic(topic).replace(/SITE|DEVICE|ASSET|ALARM/g, (name) => `{${name.toLowerCase()}}`);
}

const DURABLE = "Durable: kept on the device until `down/ack` names it.";

const UP = {
  state: {
    message: "State",
    schema: StateMessage,
    retained: true,
    says: 'Opens a session with the stream positions, then the heartbeat. The last will is `{"v":1,"session":…,"online":false}`. Of an older session nothing is taken.',
  },
  birth: {
    message: "Birth",
    schema: BirthMessage,
    retained: true,
    says: "What the device is: one message per asset, with its channels, units and resolutions, and the device's facts.",
  },
  reported: {
    message: "Reported",
    schema: ReportedMessage,
    retained: false,
    says: "Per model: phase, digest, progress, evidence, last error; and refusals. Sent again until `down/ack` echoes its `rev`.",
  },
  event: {
    message: "EventBatch",
    schema: BATCH_SCHEMAS.event,
    retained: false,
    says: `Alerts, device and security events. ${DURABLE}`,
  },
  drift: {
    message: "DriftBatch",
    schema: BATCH_SCHEMAS.drift,
    retained: false,
    says: `Sketches and verdicts of closed drift windows. ${DURABLE}`,
  },
  inference: {
    message: "InferenceBatch",
    schema: BATCH_SCHEMAS.inference,
    retained: false,
    says: `Predictions, or the errors that stood in their place. ${DURABLE}`,
  },
  telemetry: {
    message: "TelemetryBatch",
    schema: BATCH_SCHEMAS.telemetry,
    retained: false,
    says: `Rows in columns: a group for assets of the same channels, a column per channel. ${DURABLE}`,
  },
  samples: {
    message: "SamplesBatch",
    schema: BATCH_SCHEMAS.samples,
    retained: false,
    says: `Feature vectors kept for retraining. ${DURABLE}`,
  },
} satisfies Record<UpKind, Omit<Channel, "topic">>;

const DOWN = {
  ack: {
    message: "Ack",
    schema: AckMessage as TSchema,
    retained: false,
    says: "What is committed, per stream: everything up to `upTo`, and ranges beyond it. `newEpoch`: the same seq said something else before; number anew.",
  },
  desired: {
    message: "Desired",
    schema: Envelope,
    retained: false,
    says: `The signed director document (payload type \`${DIRECTOR_TYPE}\`); sent on every change and every connect.`,
  },
  baseline: {
    message: "CarriedBaseline",
    schema: CarriedBaseline,
    retained: false,
    says: "What a device that this one replaced knew of an asset; at every connect until the device has taken it over.",
  },
} satisfies Record<DownKind, Omit<Channel, "topic">>;

const FEED_ROWS =
  "Every committed row; while more is taken in than can be told as well, some are left out and counted (`bellwether_feed_left_out_total`), and `last` stays the newest.";
const FEED = {
  last: {
    message: "LastFeed",
    schema: LastFeed,
    retained: true,
    says: "The newest row of an asset and what each model said last; follows within 0.2 s.",
  },
  telemetry: { message: "TelemetryFeed", schema: TelemetryFeed, retained: false, says: FEED_ROWS },
  prediction: {
    message: "PredictionFeed",
    schema: PredictionFeed,
    retained: false,
    says: "Every committed prediction, or the error that stood in its place.",
  },
  drift: {
    message: "DriftFeed",
    schema: DriftFeed,
    retained: false,
    says: "A closed drift window of the asset, or a new verdict on a cohort it belongs to, each with the sentence that explains it.",
  },
  alarm: {
    message: "AlarmFeed",
    schema: AlarmFeed,
    retained: true,
    says: "An alert that stands, named by its model; an empty payload clears it. Backfill raises none, but may clear one.",
  },
  device: {
    message: "DeviceFeed",
    schema: DeviceFeed,
    retained: true,
    says: "Presence with its age, health, models that run: at every heartbeat, and within about a second when a device falls silent.",
  },
} satisfies Record<FeedClass, Omit<Channel, "topic">>;

function feedTopic(name: FeedClass): Topic {
  if (name === "device") return { kind: "presence", site, device };
  return name === "alarm" ? { kind: "alarm", site, asset, alarm } : { kind: "feed", site, asset, feed: name };
}

/** Every topic, in three groups. */
export const CHANNELS = {
  up: Object.entries(UP).map(([up, channel]) => ({ topic: { kind: "up", site, device, up } as Topic, ...channel })),
  down: Object.entries(DOWN).map(([down, channel]) => ({
    topic: { kind: "down", site, device, down } as Topic,
    ...channel,
  })),
  feed: Object.entries(FEED).map(([name, channel]) => ({ topic: feedTopic(name as FeedClass), ...channel })),
} as const satisfies Record<string, readonly Channel[]>;

const HEAD = `# MQTT topics

Generated by \`npm run docs\` from protocol/src/topics.ts and the schemas that device and server validate with. The same,
for programs: [asyncapi.json](asyncapi.json) (AsyncAPI 3).

The broker speaks MQTT 3.1.1. Names of sites, devices, assets and channels are 1 to 64 of \`A-Z a-z 0-9 . _ -\`; no device
is called \`feed\`. Readers ignore members they do not know. Times are milliseconds since 1970 UTC unless they are called
\`time\`: those are ISO 8601.

| who | client id | user name | password | may publish | may subscribe |
|---|---|---|---|---|---|
| device | its name | \`{site}/{device}\` | \`{nonce}.{signature}\` over a nonce of \`POST /v1/device/nonce\`, once | below its own \`up\` | below its own \`down\` |
| subscriber | any, its own space | its account (\`POST /v1/subscribers\`) | its secret | nothing | the feed of its sites, of its classes |

A packet has at most 2 KB before login and 64 KB after it; a larger one ends the connection. Sessions are always clean.
A publish to any other topic ends the connection; a subscription to any other filter is refused in the SUBACK (128). A
device's own topics reach the server and nobody else.
`;

const DURABLE_HEAD = `
## From devices

A durable batch names its records by (device, \`epoch\`, stream, \`fromSeq\` …) for ever: sent again, it is stored once, and
what is stored is in the order of seq, whatever order it arrived in. PUBACK says nothing about that, \`down/ack\` does;
the server sends both when the batch is taken care of. A
batch is JSON, or one zstd frame of it (known by its magic number), of at most ${BATCH_BYTES_MAX} bytes and
${BATCH_JSON_BYTES_MAX} when inflated. A record that had to give way travels as a \`gap\` with its count; of telemetry
that is \`downsampled\`, the figures of each asset and minute travel in it (\`observedAtMs\` is that of the last row; they are no records). A batch that cannot
be read becomes a dead letter (\`GET /v1/dead-letters\`) and is acknowledged, with its records counted as a gap, where it
still says which they were.
`;

const READING = `
### Reading a telemetry batch

Thirty lines of Python are enough; \`test/interop/read-batch.test.ts\` runs them on what real agents send.

\`\`\`python
${readFileSync(new URL("read_batch.py", import.meta.url), "utf8").trimEnd()}
\`\`\`
`;

const FEED_HEAD = `
## The feed, for subscribers

SCADA, historians, dashboards: plain JSON by asset, only of what is committed, published once and at QoS 0. \`hist\` marks
what was taken while the line was down. Retained topics come from the server's store at every SUBSCRIBE, so they outlive
its restart. A subscriber that reads too slowly misses messages (1 MB may be on their way to it), and one that does not
read for 10 s is cut off; both are counted in \`/metrics\`. While short messages flood the server a row is told here up to
0.2 s before \`GET /v1/samples\` has it.
`;

/** docs/TOPICS.md. */
export function topicsText(): string {
  const commands = `\n| \`${addressOf({ kind: "command", site, device, direction: "down", id: "ID" }).replace("ID", "{id}")}\` and \`…/up/cmd/{id}\` | | Commands and their results. Reserved: nothing publishes them yet. |`;
  return [
    HEAD,
    DURABLE_HEAD,
    table(CHANNELS.up),
    READING,
    "\n## To devices\n\n",
    table(CHANNELS.down).trimEnd(),
    commands,
    "\n",
    FEED_HEAD,
    table(CHANNELS.feed),
    "\n## Messages\n\n`?` marks what may be missing, `[…]*` is a list, `{*: …}` a map, `name` as above.\n",
    ...[...CHANNELS.up, ...CHANNELS.down, ...CHANNELS.feed].map(messageText),
    `\n### Director document\n\nThe payload inside \`Desired\`, base64.\n\n${shapeOf(DirectorDocument)}`,
  ].join("");
}

function table(channels: readonly Channel[]): string {
  const rows = channels.map(
    ({ topic, message, retained, says }) =>
      `| \`${addressOf(topic)}\`${retained ? " (retained)" : ""} | [${message}](#${message.toLowerCase()}) | ${says} |\n`,
  );
  return `\n| topic | message | what it says |\n|---|---|---|\n${rows.join("")}`;
}

function messageText({ message, schema }: Channel): string {
  return `\n### ${message}\n\n${shapeOf(schema)}`;
}

interface Node {
  readonly type?: string;
  readonly const?: unknown;
  readonly enum?: readonly unknown[];
  readonly anyOf?: readonly Node[];
  readonly items?: Node | false;
  readonly prefixItems?: readonly Node[];
  readonly properties?: Readonly<Record<string, Node>>;
  readonly patternProperties?: Readonly<Record<string, Node>>;
  readonly propertyNames?: Node;
  readonly required?: readonly string[];
  readonly pattern?: string;
  readonly description?: string;
}

const LINE_MAX = 116;
const NAME = /^1 to 64 of /;

/** A message's shape: `?` marks what may be missing, `[…]*` a list, `{*: …}` a map; as much on a line as fits. */
function shapeOf(schema: TSchema): string {
  return `\`\`\`\n${laidOut(schema as Node, "")}\n\`\`\`\n`;
}

function laidOut(node: Node, indent: string): string {
  const flat = typeText(node);
  if (indent.length + flat.length <= LINE_MAX) return flat;
  if (node.type === "array" && node.items) return `[${laidOut(node.items, indent)}]*`;
  const value = mapValue(node);
  if (value) return `{*: ${laidOut(value, indent)}}`;
  if (!node.properties) return flat;
  const inside = `${indent}  `;
  const lines: string[] = [];
  for (const [name, member] of membersOf(node)) {
    const text = `${name}: ${laidOut(member, inside)},`;
    const last = lines.at(-1);
    // What was broken over lines stands alone.
    const joins = last !== undefined && !`${last}${text}`.includes("\n") && last.length + 1 + text.length <= LINE_MAX;
    if (joins) lines[lines.length - 1] = `${last} ${text}`;
    else lines.push(`${inside}${text}`);
  }
  return `{\n${lines.join("\n")}\n${indent}}`;
}

function membersOf({ properties, required }: Node): [string, Node][] {
  return Object.entries(properties ?? {}).map(([name, member]) => [
    `${name}${required?.includes(name) ? "" : "?"}`,
    member,
  ]);
}

function mapValue(node: Node): Node | undefined {
  return Object.values(node.patternProperties ?? {})[0];
}

function typeText(node: Node): string {
  if (node.const !== undefined) return JSON.stringify(node.const);
  if (node.enum) return node.enum.map((word) => JSON.stringify(word)).join(" | ");
  if (node.anyOf) return node.anyOf.map(typeText).join(" | ");
  if (node.prefixItems) return `[${node.prefixItems.map(typeText).join(", ")}]`;
  if (node.type === "array") return `[${node.items ? typeText(node.items) : "anything"}]*`;
  const value = mapValue(node);
  if (value) return `{*: ${typeText(value)}}`;
  if (node.properties) {
    return `{${membersOf(node)
      .map(([name, member]) => `${name}: ${typeText(member)}`)
      .join(", ")}}`;
  }
  if (node.type !== "string" || !node.description) return node.type ?? "anything";
  return NAME.test(node.description) ? "name" : `string (${node.description})`;
}

/** docs/asyncapi.json: the same topics as an AsyncAPI 3 document, seen from the server. */
export function asyncApiDocument(version: string): unknown {
  const all = [
    ...CHANNELS.up.map((channel) => ({ ...channel, action: "receive" })),
    ...[...CHANNELS.down, ...CHANNELS.feed].map((channel) => ({ ...channel, action: "send" })),
  ];
  const named = <T>(value: (channel: (typeof all)[number]) => T) =>
    Object.fromEntries(all.map((channel) => [camel(channel.message), value(channel)]));
  return {
    asyncapi: "3.0.0",
    info: { title: "Bellwether", version, description: "MQTT topics of a Bellwether fleet server.", license },
    defaultContentType: "application/json",
    servers: { fleet: { host: "127.0.0.1:1883", protocol: "mqtt", protocolVersion: "3.1.1" } },
    channels: named(({ topic, message, says }) => ({
      address: addressOf(topic),
      description: says,
      parameters: Object.fromEntries([...addressOf(topic).matchAll(/\{(\w+)\}/g)].map(([, name]) => [name, {}])),
      messages: { [message]: { $ref: `#/components/messages/${message}` } },
    })),
    operations: named(({ message, action, retained }) => ({
      action,
      channel: { $ref: `#/channels/${camel(message)}` },
      bindings: { mqtt: { qos: action === "receive" ? 1 : 0, retain: retained } },
    })),
    components: {
      messages: Object.fromEntries(
        all.map(({ message, schema }) => [
          message,
          { payload: { schemaFormat: "application/schema+json;version=draft-2020-12", schema } },
        ]),
      ),
    },
  };
}

const license = { name: "Apache-2.0", url: "https://www.apache.org/licenses/LICENSE-2.0" };

function camel(message: string): string {
  return message.charAt(0).toLowerCase() + message.slice(1);
}
