import { createHash } from "node:crypto";
import { type FileHandle, open, stat, unlink } from "node:fs/promises";
import { setTimeout as wait } from "node:timers/promises";
import { err, ok, type Result } from "@bellwether/protocol/result.ts";
import { DIRECT, type Transport } from "@bellwether/protocol/tls/transport.ts";
import { fetchFrom } from "./source.io.ts";

/** How a download is bounded. */
export interface DownloadLimits {
  /** Nothing for this long ends a try. */
  readonly idleMs: number;
  /** Less than this over any whole window ends a try: a server that drips must not hold the device for ever. */
  readonly minBytesPerSecond: number;
  readonly rateWindowMs: number;
}

export const DOWNLOAD_LIMITS: DownloadLimits = { idleMs: 30_000, minBytesPerSecond: 256, rateWindowMs: 60_000 };

export interface DownloadRequest {
  readonly url: string;
  readonly token: string;
  /** How the server is reached; directly by default. */
  readonly transport?: Transport;
  /** Where the bytes go; what an earlier try left there is gone on from. */
  readonly file: string;
  /** How people call it. */
  readonly what: string;
  readonly digest: string;
  readonly length: number;
  readonly limits?: DownloadLimits;
  /** The most a second this download may take of the line; absent: what it gets. */
  readonly maxBytesPerSecond?: number | undefined;
  readonly signal?: AbortSignal;
  onProgress?(bytes: number): void;
}

/**
 * Downloads one blob and returns when exactly the signed bytes lie in the file, fsynced. Goes on where an earlier try
 * ended (Range), never follows a redirect, never keeps more than the signed length. `DIGEST_MISMATCH` and
 * `DOWNLOAD_TOO_LONG` are final, `DOWNLOAD_FAILED` is worth another try.
 */
export async function downloadBlob(request: DownloadRequest): Promise<Result<void>> {
  const present = (await stat(request.file).catch(() => undefined))?.size ?? 0;
  const done = await downloadFrom(request, present);
  if (done.ok || done.error.code !== "DIGEST_MISMATCH" || present === 0) return done;
  // What an earlier try left was wrong: power that fails leaves holes, and somebody else may have answered then.
  return downloadFrom(request, 0);
}

async function downloadFrom(request: DownloadRequest, present: number): Promise<Result<void>> {
  const { file, what, digest, length } = request;
  if (present < length) {
    const fetched = await fetchRest(request, present);
    if (!fetched.ok) return fetched;
  }
  const actual = await digestOfFile(file, length);
  if (actual === digest) return ok(undefined);
  // Whatever is wrong with these bytes, the next try must not build on them.
  await unlink(file);
  return err("DIGEST_MISMATCH", { what, actual, expected: digest });
}

async function fetchRest(request: DownloadRequest, present: number): Promise<Result<void>> {
  const { url, token, file, what, limits = DOWNLOAD_LIMITS } = request;
  const stop = new AbortController();
  const outer = () => stop.abort(new Error("given up"));
  request.signal?.addEventListener("abort", outer, { once: true });
  const idle = idleTimer(limits.idleMs, () => stop.abort(new Error("nothing came in time")));
  let output: FileHandle | undefined;
  try {
    output = await open(file, present > 0 ? "r+" : "w", 0o600);
    idle.restart();
    const answer = await fetchFrom(request.transport ?? DIRECT, url, {
      headers: { authorization: `Bearer ${token}`, ...(present > 0 ? { range: `bytes=${present}-` } : {}) },
      signal: stop.signal,
    });
    if (answer.status !== 200 && answer.status !== 206) {
      await answer.body?.cancel();
      return err("DOWNLOAD_FAILED", { what, reason: `the server answered ${answer.status}` });
    }
    // A server that ignores the range sends the whole again.
    return await keepBody(request, answer.body ?? [], { output, at: answer.status === 206 ? present : 0, stop, idle });
  } catch (cause) {
    const { message, code, cause: below } = cause as NodeJS.ErrnoException & { cause?: NodeJS.ErrnoException };
    return err("DOWNLOAD_FAILED", { what, reason: below?.code ?? below?.message ?? code ?? message });
  } finally {
    idle.pause();
    request.signal?.removeEventListener("abort", outer);
    stop.abort();
    await output?.close();
  }
}

interface Under {
  readonly output: FileHandle;
  readonly at: number;
  readonly stop: AbortController;
  readonly idle: ReturnType<typeof idleTimer>;
}

async function keepBody(
  request: DownloadRequest,
  body: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  { output, at: from, stop, idle }: Under,
): Promise<Result<void>> {
  const { what, length, limits = DOWNLOAD_LIMITS, maxBytesPerSecond } = request;
  const startMs = performance.now();
  let at = from;
  let windowBytes = 0;
  let windowStartMs = startMs;
  for await (const part of body) {
    idle.pause();
    if (at + part.byteLength > length) return err("DOWNLOAD_TOO_LONG", { what, limit: length });
    await output.write(part, 0, part.byteLength, at);
    at += part.byteLength;
    windowBytes += part.byteLength;
    request.onProgress?.(at);
    if (maxBytesPerSecond !== undefined) {
      // What is not read fills the receive window, and the server sends no faster than that is emptied.
      const aheadMs = ((at - from) / maxBytesPerSecond) * 1000 - (performance.now() - startMs);
      if (aheadMs > 0) await wait(aheadMs, undefined, { signal: stop.signal });
    }
    idle.restart();
    const windowMs = performance.now() - windowStartMs;
    if (windowMs < limits.rateWindowMs) continue;
    if (windowBytes / (windowMs / 1000) < limits.minBytesPerSecond) {
      return err("DOWNLOAD_FAILED", { what, reason: "it came too slowly" });
    }
    windowBytes = 0;
    windowStartMs = performance.now();
  }
  if (at < length) return err("DOWNLOAD_FAILED", { what, reason: `it ended after ${at} of ${length} bytes` });
  await output.truncate(length);
  await output.sync();
  return ok(undefined);
}

/** Calls `over` when it was not paused or restarted for so long. */
function idleTimer(idleMs: number, over: () => void) {
  let timer: NodeJS.Timeout | undefined;
  return {
    restart(): void {
      clearTimeout(timer);
      timer = setTimeout(over, idleMs);
    },
    pause: () => clearTimeout(timer),
  };
}

async function digestOfFile(path: string, length: number): Promise<string> {
  const hash = createHash("sha256");
  const file = await open(path, "r");
  try {
    const buffer = Buffer.allocUnsafe(1 << 18);
    for (let at = 0; at <= length; ) {
      const { bytesRead } = await file.read(buffer, 0, buffer.length, at);
      if (bytesRead === 0) break;
      hash.update(buffer.subarray(0, bytesRead));
      at += bytesRead;
    }
  } finally {
    await file.close();
  }
  return `sha256:${hash.digest("hex")}`;
}
