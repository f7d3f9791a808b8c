/** What presence is judged from, for one device. */
export interface HeardDevice {
  readonly device: string;
  readonly phase: string;
  readonly lastSeenAtMs: number | null;
  readonly heartbeatMs: number | null;
  readonly clockAheadMs: number | null;
  /** What it, or its last will, said last; null before its first word. */
  readonly online: boolean | null;
}

/** Sums over the whole store, for metrics: small answers whatever the fleet's history is. */
export interface FiguresStore {
  devices(args: Record<string, never>): Promise<HeardDevice[]>;
  rolloutsByPhase(args: Record<string, never>): Promise<{ readonly phase: string; readonly count: number }[]>;
  /** Dead letters kept, and records lost on devices or on the way, counted by gaps. */
  losses(args: Record<string, never>): Promise<{ readonly deadLetters: number; readonly gapRecords: number }>;
}
