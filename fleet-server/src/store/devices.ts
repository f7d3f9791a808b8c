import type {
  BirthMessage,
  DevicePhase,
  ReportedMessage,
  ReportedModel,
  StateMessage,
} from "@bellwether/protocol/messages/device.ts";
import type { Result } from "@bellwether/protocol/result.ts";
import type { FeedClass } from "@bellwether/protocol/topics.ts";
import type { PresenceRule } from "../devices/presence.ts";
import type { DeviceFilter } from "../devices/view.ts";

/** One device as it is kept. Times are the server's. */
export interface DeviceRecord {
  readonly device: string;
  readonly site: string;
  readonly serial: string | null;
  readonly publicHex: string;
  readonly phase: DevicePhase;
  readonly labels: Readonly<Record<string, string>>;
  readonly facts: Readonly<Record<string, string>>;
  readonly enrolledAtMs: number;
  /** Last time anything of it arrived; null before its first message. */
  readonly lastSeenAtMs: number | null;
  readonly heartbeatMs: number | null;
  /** How far its clock was ahead of the server's (behind: below 0) when it last spoke of itself; null where it never said. */
  readonly clockAheadMs: number | null;
  readonly session: number;
  readonly agentVersion: string | null;
  /** The newest state message: stream positions left out. */
  readonly state: StateMessage | null;
  /** When its key was seen on two machines; null while it was not, and again with its next key. */
  readonly clonedAtMs: number | null;
  /** The device that took its place. */
  readonly replacedBy: string | null;
}

/** An enrolment token: never its secret, only the SHA-256. */
export interface EnrolmentTokenRecord {
  readonly id: string;
  readonly site: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly serials: readonly string[] | null;
  /** Devices become active at once; otherwise somebody approves each. */
  readonly preapproved: boolean;
  readonly usesLeft: number;
  readonly expiresAtMs: number;
  readonly createdAtMs: number;
  readonly createdBy: string;
  readonly revoked: boolean;
}

export interface RefusalRecord {
  readonly code: string;
  readonly message: string;
  readonly atMs: number;
}

/** A named selector. */
export interface CohortRecord {
  readonly cohort: string;
  readonly selector: string;
  readonly createdAtMs: number;
}

/** A subscriber account of the feed. */
export interface SubscriberRecord {
  readonly account: string;
  readonly sites: readonly string[];
  /** Classes of the feed it may read; null for all. */
  readonly classes: readonly FeedClass[] | null;
  readonly createdAtMs: number;
  readonly revoked: boolean;
}

/** Which page of devices is wanted, and by what presence is judged. */
export interface DevicePageQuery {
  readonly sites?: readonly string[];
  readonly after?: string;
  readonly limit: number;
  readonly filter: DeviceFilter;
  readonly nowMs: number;
  readonly rule: PresenceRule;
}

export interface DevicePage {
  /** The devices as they are shown, a JSON array. */
  readonly items: string;
  /** Name of the last one, where there are more. */
  readonly last?: string;
}

/** Something that is done to a device, and the request or record that is the reason. */
interface DeviceOrder {
  readonly device: string;
  readonly nowMs: number;
  readonly reference: string;
}

export interface DevicesStore {
  addEnrolmentToken(args: {
    readonly hash: string;
    readonly token: EnrolmentTokenRecord;
  }): Promise<Result<EnrolmentTokenRecord>>;
  /** Newest first, after the given one. */
  listEnrolmentTokens(args: {
    readonly sites?: readonly string[];
    readonly after?: Pick<EnrolmentTokenRecord, "createdAtMs" | "id">;
    readonly limit: number;
  }): Promise<EnrolmentTokenRecord[]>;
  revokeEnrolmentToken(args: {
    readonly id: string;
    readonly sites?: readonly string[];
  }): Promise<Result<EnrolmentTokenRecord>>;
  /**
   * Spends one use of a token on a device. The same device with the same key and a good token is let in again without
   * spending one (its answer was lost on the way). A wiped device gets its place back with a new key. Whoever offers a key
   * that another device has, or had, flags that device as cloned.
   */
  enrol(args: {
    readonly hash: string;
    readonly device: string;
    readonly serial: string | null;
    readonly publicHex: string;
    readonly nowMs: number;
    /** The request, for the audit log. */
    readonly reference: string;
  }): Promise<Result<DeviceRecord>>;
  get(args: { readonly device: string }): Promise<DeviceRecord | undefined>;
  list(args: {
    readonly sites?: readonly string[];
    readonly after?: string;
    readonly limit: number;
  }): Promise<DeviceRecord[]>;
  /** A page as the API shows it: filtered, judged and written in a reader's thread, where the network waits for nobody. */
  page(args: DevicePageQuery): Promise<DevicePage>;
  setLabels(args: {
    readonly device: string;
    readonly labels: Readonly<Record<string, string>>;
  }): Promise<Result<DeviceRecord>>;
  /** `CONFLICT` where the device is in none of the phases `from`. Whoever leaves for good ends its key. */
  setPhase(args: {
    readonly device: string;
    readonly phase: DevicePhase;
    readonly from?: readonly DevicePhase[];
    readonly nowMs: number;
  }): Promise<Result<DeviceRecord>>;

  /** The device itself says that its key is gone. */
  wipe(args: DeviceOrder): Promise<Result<DeviceRecord>>;
  /** Puts a new key in the place of `publicHex`, if that is the key still; `KEY_IN_USE` where any device had it. */
  rotateKey(
    args: DeviceOrder & { readonly publicHex: string; readonly newPublicHex: string },
  ): Promise<Result<DeviceRecord>>;
  /**
   * Gives `by` the place of a device: its labels, assets and baselines; the device itself is shut out for good. Both must
   * be of one site, and `by` active. Given again it changes nothing.
   */
  replace(args: DeviceOrder & { readonly by: string }): Promise<Result<DeviceRecord>>;
  /**
   * Keeps what a device knows of an asset. One that was carried over from another device is kept until the device says
   * that it has taken it up. `CONFLICT` where the device has too many.
   */
  keepBaseline(args: {
    readonly device: string;
    readonly model: string;
    readonly asset: string;
    /** JSON of the baseline. */
    readonly body: string;
    readonly adopted: string | null;
    readonly nowMs: number;
  }): Promise<Result<undefined>>;
  /** Baselines of devices that this one replaced, which it has not taken up. */
  carriedBaselines(args: {
    readonly device: string;
  }): Promise<
    readonly { readonly model: string; readonly asset: string; readonly from: string; readonly body: string }[]
  >;
  /** Enters something about a device into the audit log, within the device's share of an hour. */
  noteSecurity(args: DeviceOrder & { readonly code: string; readonly text: string }): Promise<void>;
  /** Flags a device whose key is on two machines; says so in the audit log the first time. */
  flagCloned(args: DeviceOrder & { readonly text: string }): Promise<void>;

  /** Notes when devices were heard; only ever later. */
  seen(args: { readonly at: readonly (readonly [device: string, atMs: number])[] }): Promise<void>;
  /** `nowMs` is when it was heard. False for a message of an older session, which is ignored. */
  state(args: { readonly device: string; readonly message: StateMessage; readonly nowMs: number }): Promise<boolean>;
  birth(args: { readonly device: string; readonly message: BirthMessage }): Promise<boolean>;
  /** Keeps what a device reports of its models; answers the revision that is kept now. */
  reported(args: {
    readonly device: string;
    readonly message: ReportedMessage;
    readonly nowMs: number;
  }): Promise<number>;
  births(args: { readonly device: string }): Promise<BirthMessage[]>;
  reportedModels(args: { readonly device: string }): Promise<{
    readonly models: ReportedModel[];
    readonly refusals: RefusalRecord[];
    readonly directorVersion: number;
  }>;
  putCohort(args: { readonly cohort: CohortRecord }): Promise<CohortRecord>;
  deleteCohort(args: { readonly cohort: string }): Promise<boolean>;
  listCohorts(args: Record<string, never>): Promise<CohortRecord[]>;

  addSubscriber(args: {
    readonly hash: string;
    readonly subscriber: SubscriberRecord;
  }): Promise<Result<SubscriberRecord>>;
  findSubscriber(args: { readonly account: string; readonly hash: string }): Promise<SubscriberRecord | undefined>;
  listSubscribers(args: Record<string, never>): Promise<SubscriberRecord[]>;
  revokeSubscriber(args: { readonly account: string }): Promise<Result<SubscriberRecord>>;
}
