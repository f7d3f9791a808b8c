import type { FeedClass } from "@bellwether/protocol/topics.ts";

/** One channel of one asset, as an input reads it. */
export interface PointConfig {
  /** Unique within its input; names the point in messages. */
  readonly name: string;
  /** Absent where the rows themselves name their asset (replay with `assetColumn`, C-MAPSS). */
  readonly asset?: string;
  readonly channel: string;
  /** UCUM code of the value as it is read. */
  readonly unit: string;
  /** The grid values are rounded to; a channel without one keeps full doubles. */
  readonly resolution?: number;
  /** A value outside is kept and called uncertain. */
  readonly range?: readonly [number, number];
}

interface InputBase {
  readonly id: string;
}

/** Ways in which a simulated process changes. */
export const PROCESS_CHANGES = ["offset", "gain", "fault"] as const;

/** A change of the whole process from a row on; docs/SIMULATOR.md says what each kind does. */
export interface ProcessChange {
  readonly kind: (typeof PROCESS_CHANGES)[number];
  readonly fromRow: number;
}

/** Knobs of the simulated machines; docs/SIMULATOR.md says what they stand for. */
export interface MachinesConfig {
  /** Shortest and longest life in rows. */
  readonly lifeRows: readonly [number, number];
  /** Row 0 finds a machine at most this fraction of its life old. */
  readonly stagger: number;
  /** Scales the noise of every sensor. */
  readonly noise: number;
  /** Mean number of sensor faults per 10,000 rows of a channel. */
  readonly sensorFaults: number;
  /** Operating regimes: several speeds and loads, or one. */
  readonly regimes: boolean;
  readonly change?: ProcessChange;
}

/** A point of the simulator: which of its signals becomes which channel. */
export interface SimulatorPoint extends PointConfig {
  readonly asset: string;
  /** Name of the simulated signal. */
  readonly source: string;
}

/** Simulated rotating machines: a function of (seed, asset, index), so nothing of it is stored. */
export interface SimulatorInputConfig extends InputBase {
  readonly type: "simulator";
  readonly seed: number;
  /** Source time between rows of an asset. */
  readonly stepMs: number;
  /** Source time of row 0; undefined: rows carry the time they are made at. */
  readonly startMs?: number;
  /** Rows a second of each asset; 0: as fast as the pipeline takes them. */
  readonly rowsPerSecond: number;
  /** First row of each asset. */
  readonly from: number;
  /** Rows per asset before the input ends; absent: without end. */
  readonly rows?: number;
  readonly assets: readonly string[];
  readonly machines: MachinesConfig;
  readonly points: readonly SimulatorPoint[];
}

export interface ReplayPoint extends PointConfig {
  /** Header of the column. */
  readonly column: string;
}

/** How a recorded row gets its time. */
export type ReplayTime =
  | { readonly kind: "column"; readonly column: string; readonly format: "iso" | "epoch_ms" | "epoch_s" }
  /** start + (cycle - 1) * stepMs for C-MAPSS, start + row * stepMs per asset otherwise. */
  | { readonly kind: "steps"; readonly startMs: number; readonly stepMs: number };

/** A recorded file played again. */
export interface ReplayInputConfig extends InputBase {
  readonly type: "replay";
  /** Path, from the configuration's own folder where it was not absolute. */
  readonly file: string;
  readonly format: "csv" | "tsv" | "cmapss";
  /** CSV: rows a second of the file; C-MAPSS: of each engine, which run side by side. 0: as fast as they are taken. */
  readonly rowsPerSecond: number;
  /** Every row is of this asset, or this column names it (C-MAPSS: the unit number), with a prefix. */
  readonly asset?: string;
  readonly assetColumn?: string;
  readonly assetPrefix: string;
  /** Only these assets (after the prefix); absent: all. */
  readonly only?: readonly string[];
  /** Rows per asset before the input ends; absent: to the end of the file. */
  readonly rows?: number;
  readonly time: ReplayTime;
  readonly points: readonly ReplayPoint[];
}

export interface MqttPoint extends PointConfig {
  readonly asset: string;
  readonly topic: string;
  /** JSON pointer (RFC 6901) to the value; "" is the whole payload. */
  readonly valuePointer: string;
  /** JSON pointer to the source's own time; absent: the time of arrival. */
  readonly timePointer?: string;
  readonly timeUnit: "ms" | "s" | "iso";
}

/** Topics of a site broker. */
export interface MqttInputConfig extends InputBase {
  readonly type: "mqtt";
  readonly url: string;
  readonly username?: string;
  /** File that holds the password; never the password itself. */
  readonly passwordFile?: string;
  /** Values of one asset that arrive within this time and carry the same source time make one row. */
  readonly groupMs: number;
  readonly points: readonly MqttPoint[];
}

export const HOST_SOURCES = ["cpu.load", "memory.used_fraction", "disk.used_fraction", "temperature"] as const;
export type HostSource = (typeof HOST_SOURCES)[number];

/** Unit each source is read in; a point's unit must be one it converts to. */
export const HOST_UNITS = {
  "cpu.load": "1",
  "memory.used_fraction": "1",
  "disk.used_fraction": "1",
  temperature: "Cel",
} as const satisfies Record<HostSource, string>;

export interface HostPoint extends PointConfig {
  readonly asset: string;
  readonly source: HostSource;
}

/** The device's own condition. */
export interface HostInputConfig extends InputBase {
  readonly type: "host";
  readonly intervalMs: number;
  /** The file system whose use is read. */
  readonly diskPath: string;
  readonly points: readonly HostPoint[];
}

export type InputConfig = SimulatorInputConfig | ReplayInputConfig | MqttInputConfig | HostInputConfig;

/** The feed, published to a broker of the site. */
export interface MqttOutputConfig {
  readonly type: "mqtt";
  readonly url: string;
  readonly username?: string | undefined;
  /** File that holds the password; never the password itself. */
  readonly passwordFile?: string | undefined;
  /** Which classes of the feed; all by default. */
  readonly classes: readonly FeedClass[];
}

/** Which assets a model runs on, and what its channels are called on this device. */
export interface ModelBindingConfig {
  readonly model: string;
  /** Absent: every asset that has the model's channels. */
  readonly assets?: readonly string[];
  /** Model channel -> device channel; others keep their name. */
  readonly channels: Readonly<Record<string, string>>;
}

/** A proxy that lets CONNECT through. */
export interface ProxyConfig {
  readonly url: string;
  /** One line, `user:password`, in a file of mode 0600. */
  readonly credentialsFile?: string;
  /** PEM: what the proxy's own TLS, or what it shows in others' names, is signed by. */
  readonly caFile?: string;
  /** It opens TLS: certificates of `caFile` are believed in the server's name. */
  readonly intercepts: boolean;
}

/** How a machine that was started from a golden image enrols itself. */
export interface EnrolConfig {
  /** The server's REST API. */
  readonly url: string;
  readonly tokenFile: string;
  /** The CA to pin: a PEM file, or its fingerprint sha256:… */
  readonly ca?: string | undefined;
  /** The device's name; `{serial}` stands for its serial number. */
  readonly device: string;
  /** Where the machine's serial number is; absent: where its firmware or system keeps one. */
  readonly serialFile?: string | undefined;
}

/** How much the device keeps for its server, and how long. */
export interface BufferConfig {
  /** Most bytes on the disk, the write-ahead log included. */
  readonly maxBytes: number;
  /** Records that were held this long while the device was on give way, counted, although there is room. */
  readonly maxAgeHours: number;
  /** Longest time between taking a record and making it durable, while the budget of writing lasts. */
  readonly commitMs: number;
  /** Bytes this program may have its disk write in a day before commits stand further apart. */
  readonly writeBytesPerDay: number;
  /** How long a little telemetry waits to travel in one message. */
  readonly joinMs: number;
  /** How long acknowledged records stay, for a server that is restored from a backup. */
  readonly retainAckedHours: number;
}

/** What `bellwether-agent run` is told; every default is filled in. */
export interface AgentConfig {
  /** As given, for messages. */
  readonly fileName: string;
  readonly heartbeatMs: number;
  /** Where the fleet server is reached, if not where it said at enrolment: behind a port forwarding, say. */
  readonly server: { readonly mqttUrl?: string | undefined };
  readonly link: {
    /** The most that records of before the connection may take of the line. */
    readonly backfillBytesPerSecond: number;
    /** MQTT over WebSocket, on the port of the REST API. */
    readonly websocket: boolean;
    readonly proxy?: ProxyConfig | undefined;
    /** A certificate of the owner's PKI instead of the one that the server gives the device. */
    readonly clientCertificate?: { readonly certificateFile: string; readonly keyFile: string } | undefined;
  };
  /** Absent: the device is enrolled by hand. */
  readonly enrol?: EnrolConfig | undefined;
  readonly assets: readonly { readonly id: string }[];
  readonly inputs: readonly InputConfig[];
  /** What is told beside the fleet server. */
  readonly outputs: readonly MqttOutputConfig[];
  readonly models: readonly ModelBindingConfig[];
  /** The most a second that downloads of models may take of the line; absent: what they get. */
  readonly updates: { readonly maxBytesPerSecond?: number | undefined };
  readonly buffer: BufferConfig;
}
