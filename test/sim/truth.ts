/** One row as a sensor gave it, written down before the agent saw it. */
export interface TrueRow {
  readonly asset: string;
  /** Counts an asset's rows from 1 without holes. */
  readonly n: number;
  readonly observedAtMs: number;
  /** The agent said that it has it for good. */
  taken: boolean;
  /** It lay in a file whose bytes rotted: nobody can promise it any more. */
  doubtful: boolean;
}

/** What really happened on one device, whatever its agent and the server believe. */
export class DeviceTruth {
  readonly rows = new Map<string, TrueRow[]>();
  /** Digests that served, each with when it began to, in true time. */
  /** The agent ran a model when it was last seen to. */
  expectsModel = false;
  readonly served: { readonly digest: string; readonly fromMs: number }[] = [];
  /** Predictions each digest gave live, by the true time of each. */
  readonly predicted = new Map<string, number[]>();

  /** The longest that a digest served without another between, until now. */
  longestMs(digest: string, nowMs: number): number {
    return this.served.reduce((longest, { digest: other, fromMs }, index) => {
      const untilMs = this.served[index + 1]?.fromMs ?? nowMs;
      return other === digest ? Math.max(longest, untilMs - fromMs) : longest;
    }, 0);
  }

  rowsOf(asset: string): TrueRow[] {
    const rows = this.rows.get(asset) ?? [];
    this.rows.set(asset, rows);
    return rows;
  }
}
