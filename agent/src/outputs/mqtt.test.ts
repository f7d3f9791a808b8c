import { execFileSync } from "node:child_process";
import { join } from "node:path";
import {
  AlarmFeed,
  DeviceFeed,
  DriftFeed,
  LastFeed,
  PredictionFeed,
  TelemetryFeed,
} from "@bellwether/protocol/messages/feed.ts";
import { unwrap } from "@bellwether/protocol/result.ts";
import { validator } from "@bellwether/protocol/schema.ts";
import { FEED_CLASSES, parseTopic } from "@bellwether/protocol/topics.ts";
import { expect, it, onTestFinished, vi } from "vitest";
import { temporaryFolder } from "../../../test/kit/folder.ts";
import type { OutboxEntry } from "../buffer/outbox.ts";
import type { MqttOutputConfig } from "../config/config.ts";
import { createMqttOutput } from "./mqtt.io.ts";
import type { ConnectPublisher } from "./output.ts";

const SHAPES = {
  telemetry: validator("telemetry", TelemetryFeed),
  prediction: validator("prediction", PredictionFeed),
  drift: validator("drift", DriftFeed),
  last: validator("last", LastFeed),
  alarm: validator("alarm", AlarmFeed),
  device: validator("device", DeviceFeed),
};

interface Said {
  readonly topic: string;
  readonly text: string;
  readonly retain: boolean;
}

function output(change: Partial<MqttOutputConfig> = {}) {
  vi.useFakeTimers();
  onTestFinished(() => void vi.useRealTimers());
  const said: Said[] = [];
  const problems: string[] = [];
  let onConnected: (connected: boolean) => void = () => undefined;
  const connectMqtt: ConnectPublisher = (options) => {
    onConnected = options.onConnected;
    return {
      publish(topic, payload, retain) {
        said.push({ topic, text: Buffer.from(payload).toString(), retain });
        return true;
      },
      close: async () => undefined,
    };
  };
  const feed = createMqttOutput(
    { type: "mqtt", url: "mqtt://127.0.0.1:9", classes: FEED_CLASSES, ...change },
    {
      origin: { site: "plant", device: "edge-1", labels: { line: "2" } },
      nowMs: () => 5_000,
      heartbeatMs: 60_000,
      connectMqtt,
      models: () => [{ model: "rul", phase: "serving", version: 1 }],
      onProblem: ({ code }) => void problems.push(code),
    },
  );
  onTestFinished(() => feed.close());
  const commit = (entry: OutboxEntry) => {
    feed.take(entry);
    feed.committed();
    vi.advanceTimersByTime(1_000);
  };
  return { feed, said, problems, commit, connect: (up = true) => onConnected(up) };
}

const row = (n: number) => ({ asset: "pump-1", observedAtMs: n, values: { vib: n } });
const digest = `sha256:${"a".repeat(64)}`;
const said = { asset: "pump-1", observedAtMs: 7, model: "rul", version: 1, digest, value: 3 };
const alert = (code: string) =>
  ({ atMs: 9, kind: "alert", severity: "warning", code, text: "rul is 3", asset: "pump-1", model: "rul" }) as const;

it("says what the server says, in the same schemas, once it is durable and not before", () => {
  const { feed, said: told, commit, connect } = output();
  connect();
  told.length = 0;
  feed.take({ rows: [row(6)] });
  vi.advanceTimersByTime(1_000);
  expect(told).toEqual([]);
  commit({ inference: [said], events: [alert("ALERT_RAISED")] });
  for (const { topic, text } of told) {
    const kind = topic.split("/")[5] as keyof typeof SHAPES;
    unwrap<unknown>(SHAPES[kind].parse(text));
    unwrap(parseTopic(topic));
  }
  expect(told.map(({ topic, retain }) => [topic.slice("bw/v1/plant/feed/pump-1/".length), retain])).toEqual([
    ["telemetry", false],
    ["prediction", false],
    ["alarm/rul", true],
    ["last", true],
  ]);
  expect(JSON.parse(told.at(-1)?.text ?? "")).toMatchObject({ values: { vib: 6 }, predictions: { rul: { value: 3 } } });
  commit({ events: [alert("ALERT_CLEARED")] });
  expect(told.at(-1)).toEqual({ topic: "bw/v1/plant/feed/pump-1/alarm/rul", text: "", retain: true });
});

it("says again what is retained when the broker is back, and nothing of what it missed", () => {
  const { said: told, problems, commit, connect } = output();
  connect(false);
  commit({ rows: [row(1), row(2)], inference: [said], events: [alert("ALERT_RAISED")] });
  expect(told).toEqual([]);
  expect(problems).toEqual(["OUTPUT_DISCONNECTED"]);
  connect();
  expect(told.map(({ topic }) => topic.split("/").slice(4).join("/"))).toEqual([
    "pump-1/last",
    "pump-1/alarm/rul",
    "edge-1/device",
  ]);
  expect(JSON.parse(told[2]?.text ?? "")).toMatchObject({
    presence: "online",
    labels: { line: "2" },
    models: [{ model: "rul" }],
  });
});

it("says only the classes it is told to", () => {
  const { said: told, commit, connect } = output({ classes: ["prediction"] });
  connect();
  commit({ rows: [row(1)], inference: [said] });
  expect(told.map(({ topic }) => topic.split("/")[5])).toEqual(["prediction"]);
});

it("forgets the oldest where nothing becomes durable for long", () => {
  const { feed, said: told, connect } = output({ classes: ["telemetry"] });
  connect();
  for (let n = 0; n < 1_500; n++) feed.take({ rows: [row(n)] });
  feed.committed();
  expect([told.length, JSON.parse(told[0]?.text ?? "").observedAtMs]).toEqual([1_000, 500]);
});

it("says that its password cannot be read, and waits for no pipe", async () => {
  const passwordFile = join(temporaryFolder(), "password");
  execFileSync("mkfifo", [passwordFile]);
  const { problems } = output({ username: "edge", passwordFile });
  await vi.waitFor(() => expect(problems).toEqual(["OUTPUT_FILE_UNREADABLE"]));
});
