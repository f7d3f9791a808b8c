import { problem } from "@bellwether/protocol/errors.ts";
import {
  alarmTopic,
  assetsOf,
  deviceMessage,
  type FeedBatch,
  type FeedMessage,
  feedOf,
  lastMessage,
  type NewestOfAsset,
} from "@bellwether/protocol/feed.ts";
import { readPassword } from "@bellwether/protocol/files/read.io.ts";
import {
  ALERT_RAISED,
  type EventRecord,
  type InferenceRecord,
  type TelemetryRow,
} from "@bellwether/protocol/messages/stream.ts";
import type { OutboxEntry } from "../buffer/outbox.ts";
import type { MqttOutputConfig } from "../config/config.ts";
import type { Output, OutputContext, SitePublisher } from "./output.ts";

/** What is retained of an asset follows its rows at most this often. */
const RETAINED_EVERY_MS = 200;
/** Entries that wait for their commit; the disk may fail for long, and the oldest are then told nobody. */
const WAITING_ENTRIES_MAX = 1_000;

/** The feed of the fleet server, from the device itself to a broker of its site: the same topics, the same schemas. */
export function createMqttOutput(config: MqttOutputConfig, context: OutputContext): Output {
  return new FeedOutput(config, context);
}

class FeedOutput implements Output {
  readonly #context: OutputContext;
  readonly #classes: ReadonlySet<string>;
  readonly #waiting: OutboxEntry[] = [];
  readonly #newest = new Map<string, { row?: TelemetryRow; predictions: Map<string, InferenceRecord> }>();
  readonly #alarms = new Map<string, EventRecord>();
  readonly #changed = new Set<string>();
  readonly #heartbeat: NodeJS.Timeout;
  readonly #open: Promise<SitePublisher | undefined>;
  #broker: SitePublisher | undefined;
  #connected = false;
  #retainedTimer: NodeJS.Timeout | undefined;

  constructor(config: MqttOutputConfig, context: OutputContext) {
    this.#context = context;
    this.#classes = new Set(config.classes);
    this.#open = this.#connect(config);
    this.#heartbeat = setInterval(() => this.#present(), context.heartbeatMs);
    this.#heartbeat.unref();
  }

  take(entry: OutboxEntry): void {
    if (this.#waiting.push(entry) > WAITING_ENTRIES_MAX) this.#waiting.shift();
  }

  committed(): void {
    for (const { rows = [], inference = [], events = [], drift = [] } of this.#waiting.splice(0)) {
      this.#tell({ ...this.#batch(), stream: "telemetry", records: rows });
      this.#tell({ ...this.#batch(), stream: "inference", records: inference });
      this.#tell({ ...this.#batch(), stream: "event", records: events });
      this.#tell({ ...this.#batch(), stream: "drift", records: drift });
      for (const row of rows) this.#newestOf(row.asset).row = row;
      for (const record of inference) this.#newestOf(record.asset).predictions.set(record.model, record);
      for (const event of events) this.#keepAlarm(event);
    }
    if (this.#changed.size > 0) this.#retainedTimer ??= setTimeout(() => this.#tellRetained(), RETAINED_EVERY_MS);
  }

  async close(): Promise<void> {
    clearInterval(this.#heartbeat);
    clearTimeout(this.#retainedTimer);
    await this.#open;
    // A polite end sends no last will: what it would say is said before.
    this.#publish(this.#presence("offline"));
    await this.#broker?.close();
  }

  async #connect(config: MqttOutputConfig): Promise<SitePublisher | undefined> {
    const { url, username, passwordFile } = config;
    const password = passwordFile === undefined ? undefined : readPassword(passwordFile);
    if (typeof password === "object") {
      this.#context.onProblem(problem("OUTPUT_FILE_UNREADABLE", { url, file: passwordFile, reason: password.reason }));
      return undefined;
    }
    const { topic, body } = this.#presence("offline");
    this.#broker = this.#context.connectMqtt({
      url,
      ...(username === undefined ? {} : { username }),
      ...(password === undefined ? {} : { password }),
      will: { topic, payload: Buffer.from(JSON.stringify(body)) },
      onConnected: (connected) => {
        this.#connected = connected;
        if (connected) this.#welcome();
        else this.#context.onProblem(problem("OUTPUT_DISCONNECTED", { url }));
      },
    });
    return this.#broker;
  }

  /** After a connection was lost the broker may have lost what it retained. */
  #welcome(): void {
    for (const asset of this.#newest.keys()) this.#changed.add(asset);
    this.#tellRetained();
    for (const record of this.#alarms.values()) {
      this.#tell({ ...this.#batch(), stream: "event", records: [record] });
    }
    this.#present();
  }

  #batch() {
    const { site, device } = this.#context.origin;
    return { site, device, hist: false, offsetMs: 0 } as const;
  }

  #tell(batch: FeedBatch): void {
    if (batch.records.length === 0) return;
    for (const message of this.#connected ? feedOf(batch, () => true) : []) this.#publish(message);
    for (const asset of assetsOf(batch)) this.#changed.add(asset);
  }

  #tellRetained(): void {
    clearTimeout(this.#retainedTimer);
    this.#retainedTimer = undefined;
    const { device, site } = this.#context.origin;
    const origin = { device, hist: false, offsetMs: 0 };
    for (const asset of this.#connected ? this.#changed : []) {
      const { row, predictions } = this.#newestOf(asset);
      const newest: NewestOfAsset = {
        site,
        asset,
        ...(row ? { row: { ...origin, record: row } } : {}),
        predictions: [...predictions.values()].map((record) => ({ ...origin, record })),
      };
      this.#publish(lastMessage(newest));
    }
    this.#changed.clear();
  }

  #present(): void {
    if (this.#connected) this.#publish(this.#presence("online"));
  }

  #presence(presence: "online" | "offline"): FeedMessage {
    const models = presence === "online" ? this.#context.models() : [];
    return deviceMessage(this.#context.origin, { presence, ageMs: 0 }, models, this.#context.nowMs());
  }

  #publish({ topic, body }: FeedMessage): void {
    const kind = topic.split("/")[5] ?? "";
    if (!this.#classes.has(kind)) return;
    const retain = kind === "last" || kind === "alarm" || kind === "device";
    const payload = body === undefined ? Buffer.alloc(0) : Buffer.from(JSON.stringify(body));
    this.#broker?.publish(topic, payload, retain);
  }

  #newestOf(asset: string) {
    const known = this.#newest.get(asset) ?? { predictions: new Map<string, InferenceRecord>() };
    this.#newest.set(asset, known);
    return known;
  }

  #keepAlarm(record: EventRecord): void {
    if (record.kind !== "alert" || record.asset === undefined) return;
    const topic = alarmTopic(this.#context.origin.site, record.asset, record);
    if (record.code === ALERT_RAISED) this.#alarms.set(topic, record);
    else this.#alarms.delete(topic);
  }
}
