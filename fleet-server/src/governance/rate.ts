/** A token bucket: `level` requests may be made at once, refilled steadily. */
export interface Bucket {
  readonly level: number;
  readonly atMs: number;
}

/** How many requests per minute an address may make, and how many of them at once. */
export interface RateLimit {
  readonly perMinute: number;
  readonly burst: number;
}

/** Takes one request from the bucket (undefined: an address not seen lately); when empty, says how long to wait. */
export function takeOne(
  bucket: Bucket | undefined,
  limit: RateLimit,
  nowMs: number,
): { readonly bucket: Bucket; readonly waitMs: number } {
  const perMs = limit.perMinute / 60_000;
  // A clock that was set back refills nothing and takes nothing away.
  const sinceMs = bucket ? Math.max(0, nowMs - bucket.atMs) : 0;
  const level = bucket ? Math.min(limit.burst, bucket.level + sinceMs * perMs) : limit.burst;
  if (level >= 1) return { bucket: { level: level - 1, atMs: nowMs }, waitMs: 0 };
  return { bucket: { level, atMs: nowMs }, waitMs: Math.ceil((1 - level) / perMs) };
}

/**
 * Buckets by key, bounded: at `keysMax` the one that was used longest ago is forgotten. A flood from ever new addresses
 * therefore costs bounded memory, and lets each of them in with a fresh bucket.
 */
export class RateLimiter {
  readonly #buckets = new Map<string, Bucket>();
  readonly #keysMax: number;

  constructor(keysMax = 10_000) {
    this.#keysMax = keysMax;
  }

  /** Takes one request of `key`; 0 where it may pass, else the milliseconds to wait. */
  take(key: string, limit: RateLimit, nowMs: number): number {
    const { bucket, waitMs } = takeOne(this.#buckets.get(key), limit, nowMs);
    this.#buckets.delete(key); // set again below, so that the map's order is the order of use
    this.#buckets.set(key, bucket);
    if (this.#buckets.size > this.#keysMax) {
      const oldest = this.#buckets.keys().next();
      if (!oldest.done) this.#buckets.delete(oldest.value);
    }
    return waitMs;
  }
}
