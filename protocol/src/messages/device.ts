import { type Static, Type } from "typebox";
import { Digest, Epoch, Name, TimeMs } from "../ids.ts";
import { Labels } from "../labels.ts";
import { integer, mapOf, oneOf, pairOf, validator } from "../schema.ts";
import { StreamName } from "./stream.ts";

const Bytes = integer({ minimum: 0 });
const LineBytes = Type.Partial(
  Type.Object({
    event: Bytes,
    drift: Bytes,
    inference: Bytes,
    telemetry: Bytes,
    samples: Bytes,
    /** What the device says of itself: state, births, what it reports. */
    other: Bytes,
    /** What it is told. */
    received: Bytes,
  }),
);

const Session = integer({ minimum: 0 });

/** What the outbox holds of one stream when a session opens: the oldest seq still held, and the next to be given. */
export const StreamPosition = Type.Object({
  stream: StreamName,
  firstHeld: integer({ minimum: 1 }),
  next: integer({ minimum: 1 }),
});

/**
 * `up/state`, retained; its last will is `{v:1, session, online:false}`. Sent at connect with the stream positions
 * (which opens the session) and then as heartbeat every `heartbeatMs`. A smaller session number is an older life.
 */
export const StateMessage = Type.Object({
  v: Type.Literal(1),
  session: Session,
  online: Type.Boolean(),
  atMs: Type.Optional(TimeMs),
  heartbeatMs: Type.Optional(integer({ minimum: 100, maximum: 3_600_000 })),
  epoch: Type.Optional(Epoch),
  streams: Type.Optional(Type.Array(StreamPosition, { maxItems: 5 })),
  /** Random name of the agent's process, in the state that opens a session: two machines with one key show by it. */
  instance: Type.Optional(Type.String({ minLength: 8, maxLength: 64 })),
  health: Type.Optional(
    Type.Object({
      rssMb: Type.Number(),
      cpuLoad: Type.Number(),
      memoryUsedFraction: Type.Number(),
      diskUsedFraction: Type.Number(),
      temperatureC: Type.Optional(Type.Number()),
      outboxBytes: integer(),
      outboxBytesMax: integer(),
      outboxPhase: Type.Union([Type.Literal("normal"), Type.Literal("pressured"), Type.Literal("shedding")]),
      evictedRecords: integer(),
      /** Bytes the agent had its disk write in the last 24 hours, or since it began, and its budget for a day. */
      disk: Type.Optional(
        Type.Object({
          coversMs: integer({ minimum: 0 }),
          writtenBytes: integer({ minimum: 0 }),
          budgetBytesPerDay: integer({ minimum: 0 }),
          /** How far its commits stand apart now. */
          commitMs: integer({ minimum: 0 }),
        }),
      ),
      /** MQTT bytes of the last 24 hours by class, or since the agent began if that is less. */
      line: Type.Optional(Type.Object({ coversMs: integer({ minimum: 0 }), bytes: LineBytes })),
      lastRowAtMs: Type.Optional(TimeMs),
      lastInferenceAtMs: Type.Optional(TimeMs),
    }),
  ),
});
export type StateMessage = Static<typeof StateMessage>;
export const stateMessage = validator("The state", StateMessage);

/** One channel as a device declares it. */
export const ChannelBirth = Type.Object({
  channel: Name,
  unit: Type.String({ maxLength: 32 }),
  resolution: Type.Optional(Type.Number({ exclusiveMinimum: 0 })),
  range: Type.Optional(pairOf(Type.Number())),
});
export type ChannelBirth = Static<typeof ChannelBirth>;

/**
 * What the device's configuration says of models on one asset, by model: model channel -> device channel (others keep
 * their name), or null where the model is not for this asset. A model that is not named is not restricted.
 */
export const BindingsBirth = mapOf(Name, Type.Union([mapOf(Name, Name, { maxProperties: 1_024 }), Type.Null()]), {
  maxProperties: 64,
});
export type BindingsBirth = Static<typeof BindingsBirth>;

/** `up/birth`, retained, one message per asset (a device with hundreds of channels must fit 64 KB packets). */
export const BirthMessage = Type.Object({
  v: Type.Literal(1),
  session: Session,
  asset: Name,
  /** Of how many births this is one, so that the server knows when it has them all. */
  index: integer({ minimum: 0 }),
  of: integer({ minimum: 1, maximum: 10_000 }),
  channels: Type.Array(ChannelBirth, { maxItems: 1_024 }),
  /** Facts that selectors and compatibility see. */
  facts: mapOf(Name, Type.String({ maxLength: 128 }), { maxProperties: 64 }),
  /** Absent from older agents: what their assets offer a model is not known then. */
  bindings: Type.Optional(BindingsBirth),
  agentVersion: Type.String({ maxLength: 32 }),
});
export type BirthMessage = Static<typeof BirthMessage>;
export const birthMessage = validator("The birth", BirthMessage);

export const UPDATE_PHASES = [
  "idle",
  "downloading",
  "verifying",
  "selfTesting",
  "shadowing",
  "activating",
  "confirming",
  "rollingBack",
  "failed",
] as const;
export type UpdatePhase = (typeof UPDATE_PHASES)[number];

/**
 * What a version proved on a device: its golden vectors before it was activated, then live inferences through the soak.
 * Times are the device's own.
 */
export const DeploymentEvidence = Type.Object({
  goldenMatched: Type.Boolean(),
  /** Largest distance of any number from what the golden vectors say. */
  goldenMaxError: Type.Optional(Type.Number({ minimum: 0 })),
  inferences: integer({ minimum: 0 }),
  errors: integer({ minimum: 0 }),
  p99LatencyUs: Type.Number({ minimum: 0 }),
  firstInferenceAtMs: Type.Optional(TimeMs),
  lastInferenceAtMs: Type.Optional(TimeMs),
  soakStartedAtMs: Type.Optional(TimeMs),
  soakEndedAtMs: Type.Optional(TimeMs),
  soakedMs: Type.Number({ minimum: 0 }),
});
export type DeploymentEvidence = Static<typeof DeploymentEvidence>;

/** What a version did as a shadow, on the rows of the model that served meanwhile. Times are the device's own. */
export const ShadowFindings = Type.Object({
  inferences: integer({ minimum: 0 }),
  errors: integer({ minimum: 0 }),
  p99LatencyUs: Type.Number({ minimum: 0 }),
  /** Vectors for which both gave a value. */
  compared: integer({ minimum: 0 }),
  /** Mean distance of the two values. */
  meanDifference: Type.Optional(Type.Number({ minimum: 0 })),
  /** Share of those vectors for which both stood on the same side of their alert's threshold. */
  agreement: Type.Optional(Type.Number({ minimum: 0, maximum: 1 })),
  startedAtMs: TimeMs,
  endedAtMs: TimeMs,
});
export type ShadowFindings = Static<typeof ShadowFindings>;

/** What a device says of one model it runs or is asked to run. */
export const ReportedModel = Type.Object({
  model: Name,
  phase: oneOf(UPDATE_PHASES),
  /** What runs now: the last verified one, whatever the phase. */
  active: Type.Optional(Type.Object({ version: integer({ minimum: 1 }), digest: Digest })),
  /** What the director asked for, with the version of the document that did. */
  target: Type.Optional(
    Type.Object({
      version: integer({ minimum: 1 }),
      digest: Digest,
      directorVersion: integer({ minimum: 1 }),
    }),
  ),
  /** How the last target ended. */
  outcome: Type.Optional(
    Type.Union([
      Type.Literal("succeeded"),
      Type.Literal("failed"),
      Type.Literal("rejected"),
      Type.Literal("rolledBack"),
    ]),
  ),
  progress: Type.Optional(Type.Number({ minimum: 0, maximum: 1 })),
  evidence: Type.Optional(DeploymentEvidence),
  /** Where the target was asked to run as a shadow first: so far, or in the end. */
  shadow: Type.Optional(ShadowFindings),
  error: Type.Optional(
    Type.Object({
      code: Type.String({ minLength: 1, maxLength: 64 }),
      message: Type.String({ maxLength: 1000 }),
      atMs: TimeMs,
    }),
  ),
});
export type ReportedModel = Static<typeof ReportedModel>;

/** `up/reported`: sent again until `down/ack` echoes its rev. `directorVersion` is the newest document accepted. */
export const ReportedMessage = Type.Object({
  v: Type.Literal(1),
  session: Session,
  rev: integer({ minimum: 1 }),
  directorVersion: integer({ minimum: 0 }),
  models: Type.Array(ReportedModel, { maxItems: 64 }),
  /** Director documents, or models in them, that the device did not take: a wrong signature, expired metadata. */
  refusals: Type.Array(
    Type.Object({
      code: Type.String({ minLength: 1, maxLength: 64 }),
      message: Type.String({ maxLength: 1000 }),
      atMs: TimeMs,
      /** The number the refused document bears; absent while the device still tries. */
      directorVersion: Type.Optional(integer({ minimum: 1 })),
      /** The model that was refused; absent where it was the whole document. */
      model: Type.Optional(Name),
    }),
    { maxItems: 16 },
  ),
});
export type ReportedMessage = Static<typeof ReportedMessage>;
export const reportedMessage = validator("The reported state", ReportedMessage);

/** Body of `POST /v1/enrolment`. The signature is over `enrolmentBytes` with the device's new key: it proves possession. */
export const EnrolmentRequest = Type.Object(
  {
    token: Type.String({ minLength: 16, maxLength: 256 }),
    device: Name,
    serial: Type.Optional(Type.String({ maxLength: 128 })),
    key: Type.Object(
      { type: Type.Literal("ed25519"), publicHex: Type.String({ pattern: "^[0-9a-f]{64}$" }) },
      { additionalProperties: false },
    ),
    signatureHex: Type.String({ pattern: "^[0-9a-f]{128}$" }),
  },
  { additionalProperties: false },
);
export type EnrolmentRequest = Static<typeof EnrolmentRequest>;

/** Answer to an enrolment: who the device is now, whom to trust, where to connect. */
export const EnrolmentResponse = Type.Object({
  site: Name,
  device: Name,
  phase: Type.Union([Type.Literal("active"), Type.Literal("pending")]),
  brokerId: Type.String({ minLength: 8, maxLength: 128 }),
  mqttUrl: Type.String({ maxLength: 512 }),
  /** The first root metadata as text; the device pins it. */
  rootMetadata: Type.String({ maxLength: 32_768 }),
  /** The token's labels: the device keeps them, and no later word of the server changes them there. */
  labels: Type.Optional(Labels),
});
export type EnrolmentResponse = Static<typeof EnrolmentResponse>;
export const enrolmentResponse = validator("The enrolment answer", EnrolmentResponse);

/** Answer of `POST /v1/device/nonce`: sign `loginBytes` over it. */
export const NonceResponse = Type.Object({
  nonce: Type.String({ minLength: 32, maxLength: 256 }),
  brokerId: Type.String({ minLength: 8, maxLength: 128 }),
});
export const nonceResponse = validator("The nonce answer", NonceResponse);

/** Body of what a device asks for itself: its signature over `loginBytes` of a fresh nonce. */
export const DeviceProof = Type.Object(
  {
    device: Name,
    nonce: Type.String({ minLength: 16, maxLength: 256 }),
    signatureHex: Type.String({ pattern: "^[0-9a-f]{128}$" }),
  },
  { additionalProperties: false },
);

/** Answer of `POST /v1/device/certificate`: for TLS with brokers and servers that want to see one. */
export const DeviceCertificate = Type.Object({
  /** PEM of the certificate for the device's own key: CN is the device, O its site. */
  certificate: Type.String({ maxLength: 8_192 }),
  /** PEM of the CA of devices, which an external broker is given. */
  ca: Type.String({ maxLength: 8_192 }),
  notAfterMs: TimeMs,
});
export const deviceCertificate = validator("The certificate answer", DeviceCertificate);

/** Body of `POST /v1/device/rotate-key`: the old key's and the new key's signatures over the same `rotationBytes`. */
export const KeyRotation = Type.Object(
  {
    ...DeviceProof.properties,
    newPublicHex: Type.String({ pattern: "^[0-9a-f]{64}$" }),
    newSignatureHex: Type.String({ pattern: "^[0-9a-f]{128}$" }),
  },
  { additionalProperties: false },
);

/** Where a device stands: pending waits for approval, wiped may enrol again, rejected and revoked are final. */
export const DEVICE_PHASES = ["pending", "active", "wiped", "rejected", "revoked"] as const;
export type DevicePhase = (typeof DEVICE_PHASES)[number];

/** Answer of `POST /v1/device/status`. */
export const DeviceStatus = Type.Object({
  device: Name,
  site: Name,
  phase: oneOf(DEVICE_PHASES),
  /** The device's key was seen on two machines. */
  cloned: Type.Boolean(),
});
export const deviceStatus = validator("The status answer", DeviceStatus);

/** Answer of `POST /v1/device/login`: a short-lived token for metadata and blobs over HTTP. */
export const DeviceLoginResponse = Type.Object({
  token: Type.String({ minLength: 16, maxLength: 1024 }),
  expiresAtMs: TimeMs,
});
export const deviceLoginResponse = validator("The login answer", DeviceLoginResponse);
