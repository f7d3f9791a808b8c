import type { TestRelease, TestRepository } from "../../kit/tuf.ts";

/**
 * A row of docs/ATTACKS.md. Whoever runs it first shows its unmodified document accepted, then changes the one thing
 * that the row names, signed again unless the signature is the attack.
 */
export interface Row {
  readonly attack: string;
  /** What stops it. */
  readonly defence: string;
  /** The code of the refusal; for what MQTT 3.1.1 can only answer with a number or by closing, that and its counter. */
  readonly code: string;
}

/** Makes a repository; a buffer it returns is the director document that the device hears of. */
export type Bend = (repository: TestRepository) => unknown;

/** An attack on an update: the device goes on with the model it had. */
export interface UpdateRow extends Row {
  /** What the refusal says. */
  readonly reason?: RegExp;
  /** The unmodified repository and document; edition 3 with both releases without it. */
  readonly honest?: Bend;
  /** What a device of the same past runs after that; `NEW` without it. */
  readonly runs?: TestRelease;
  readonly bend: Bend;
  /** The device's clock, where it is not the true one. */
  readonly nowMs?: number;
  /** What the device finds in itself, and what the attacked one finds, where that is what changes. */
  readonly labels?: Readonly<Record<string, string>>;
  readonly otherLabels?: Readonly<Record<string, string>>;
  /** What the repository must go on publishing when the attack is over. */
  readonly afterwards?: Parameters<TestRepository["publish"]>[2];
  /** Whether the attack took no more bytes, connections and requests than it may; asked until it is so. */
  readonly bounded?: (repository: TestRepository) => boolean;
  /** The refusal is for want of the network: the attack over, the device tries again by itself. */
  readonly again?: true;
}

/** Rows that share their defence. */
export function stoppedBy<R extends Row>(defence: string, rows: readonly Omit<R, "defence">[]): readonly R[] {
  return rows.map((row) => ({ ...row, defence }) as R);
}

/** Rows with their whole name, for `test.each`: what it prints of an object's member ends after forty characters. */
export function named<R extends Row>(rows: readonly R[]): readonly (readonly [name: string, row: R])[] {
  return rows.map((row) => [`${row.attack} (${row.code})`, row] as const);
}
